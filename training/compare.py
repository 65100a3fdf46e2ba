"""Two versions side by side, read by the running service on the same images."""

from pathlib import Path
from typing import Any

from app.registry import store
from training.data import Split
from training.evaluate import Evaluation, serving


def compare(candidate: Path, current: Path, validation: Split, feedback: Split | None) -> dict[str, Any]:
    """Measure both versions, each a folder, on the validation images and, where there are any, on feedback.

    The result is plain JSON values: per set of images how many each reads right, how many only one of them does,
    and each one's mean negative log likelihood; for validation also who may have learned those images.
    Raises VersionError or TrainingError when a version cannot be served.
    """
    manifests = {"candidate": store.read_manifest(candidate), "current": store.read_manifest(current)}
    learned = {f"learned_by_{name}": manifest.has_learned(validation.digest()) for name, manifest in manifests.items()}
    splits = {"mnist": validation} | ({"feedback": feedback} if feedback is not None and len(feedback) else {})
    one, other = _read(candidate, splits), _read(current, splits)
    return {
        "mnist": _beside(one["mnist"], other["mnist"]) | learned,
        "feedback": _beside(one["feedback"], other["feedback"]) if "feedback" in splits else None,
    }


def _read(version: Path, splits: dict[str, Split]) -> dict[str, Evaluation]:
    with serving(version) as service:
        return {name: service.read(split) for name, split in splits.items()}


def _beside(one: Evaluation, other: Evaluation) -> dict[str, Any]:
    right, other_right = one.digits == one.labels, other.digits == other.labels
    return {
        "images": len(right),
        "candidate": int(right.sum()),
        "current": int(other_right.sum()),
        "only_candidate": int((right & ~other_right).sum()),
        "only_current": int((other_right & ~right).sum()),
        "candidate_nll": one.metrics().nll,
        "current_nll": other.metrics().nll,
    }
