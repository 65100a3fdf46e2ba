"""Two versions side by side, on the same images through the running service."""

from pathlib import Path
from typing import Any

from app.registry import store
from training.data import Split
from training.evaluate import Evaluation, serving


def compare(candidate: Path, current: Path, validation: Split, feedback: Split | None) -> dict[str, Any]:
    """Measure two versions on the validation images and, where there are any, on feedback.

    Args:
        candidate: folder of a version.
        current: folder of the version to compare it with.
        validation: images held out of MNIST.
        feedback: held-out corrections.

    Returns:
        Plain values for JSON: for each set of images how many each version reads correctly, how many only one of them
        does, and their mean NLL; for the validation images also which version may have learned them.

    Raises:
        VersionError: when a version is damaged.
        TrainingError: when a version cannot be served.
    """
    manifests = {"candidate": store.read_manifest(candidate), "current": store.read_manifest(current)}
    learned = {f"learned_by_{name}": manifest.has_learned(validation.digest()) for name, manifest in manifests.items()}
    splits = {"mnist": validation} | ({"feedback": feedback} if feedback is not None and len(feedback) else {})
    one, other = _read(candidate, splits), _read(current, splits)
    return {
        "mnist": _paired(one["mnist"], other["mnist"]) | learned,
        "feedback": _paired(one["feedback"], other["feedback"]) if "feedback" in splits else None,
    }


def _read(version: Path, splits: dict[str, Split]) -> dict[str, Evaluation]:
    with serving(version) as service:
        return {name: service.read(split) for name, split in splits.items()}


def _paired(candidate: Evaluation, current: Evaluation) -> dict[str, Any]:
    one, other = candidate.correct, current.correct
    return {
        "images": len(one),
        "candidate": int(one.sum()),
        "current": int(other.sum()),
        "only_candidate": int((one & ~other).sum()),
        "only_current": int((other & ~one).sum()),
        "candidate_nll": candidate.metrics().nll,
        "current_nll": current.metrics().nll,
    }
