"""Pictures in folders, read by the running service, and tables of accuracy and confidence."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from training.calibration import TARGET_COVERAGE
from training.errors import TrainingError
from training.markdown import table

# The groups of a folder of pictures, which holds GROUP/SOURCE/LABEL_N.EXTENSION: with one digit, and without.
LABELLED, OOD = ("digits", "printed"), ("multi", "ood")

Floats = NDArray[np.float64]

# Rejection reasons that follow from the confidence; all others follow from the picture.
_BY_CONFIDENCE = ("no digit", "unsure")

FORMATS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True)
class Picture:
    """A file with the digit that its name begins with, if it does so."""

    path: Path
    label: int | None

    @property
    def source(self) -> str:
        """The name of its folder."""
        return _printable(self.path.parent.name)

    @property
    def name(self) -> str:
        """The name of the file."""
        return _printable(self.path.name)


@dataclass(frozen=True)
class Answer:
    """What the service replied to a picture.

    Attributes:
        digit: None where it did not read the picture.
        confidence: the digit's probability.
        rejection: why it did not read the picture or rejected its answer; empty for an accepted answer.
    """

    digit: int | None
    confidence: float
    rejection: str = ""

    @property
    def rejected(self) -> bool:
        """Whether there is no accepted answer."""
        return self.digit is None or bool(self.rejection)

    def rejected_below(self, threshold: float) -> bool:
        """Whether it would be rejected with this threshold."""
        by_picture = self.rejected and self.rejection not in _BY_CONFIDENCE
        return by_picture or self.confidence < threshold


def find(folder: Path) -> list[Picture]:
    """All pictures in a folder and below it, in order.

    Raises:
        TrainingError: when there are none.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in FORMATS and path.is_file())
    if not paths:
        raise TrainingError(f"{folder}: no pictures there; they end in {', '.join(FORMATS)}")
    return [Picture(path, _label(path)) for path in paths]


def find_groups(folder: Path) -> list[Picture]:
    """All pictures in a folder's groups.

    Raises:
        TrainingError: when there are none.
    """
    groups = [group for group in (*LABELLED, *OOD) if (folder / group).is_dir()]
    if not groups:
        known = ", ".join((*LABELLED, *OOD))
        raise TrainingError(f"{folder}: none of the folders {known} there; `look` takes any folder")
    return [picture for group in groups for picture in find(folder / group)]


def _printable(name: str) -> str:
    """Replace what is not UTF-8 in the name of a file."""
    return os.fsencode(name).decode(errors="replace")


def _label(path: Path) -> int | None:
    start = path.stem.partition("_")[0]
    return int(start) if len(start) == 1 and start in "0123456789" else None


def auroc(positives: Sequence[float] | Floats, negatives: Sequence[float] | Floats) -> float:
    """Area under the ROC curve: how often a positive is greater than a negative, a tie counting as half.

    Args:
        positives: at least one value.
        negatives: at least one value.
    """
    truth = np.repeat([1, 0], [len(positives), len(negatives)])
    return float(roc_auc_score(truth, np.concatenate([positives, negatives])))


def tables(
    folder: Path,
    answers: Mapping[Path, Answer],
    synthetic: Mapping[str, Sequence[Answer]] | None = None,
    mnist: Floats | None = None,
) -> str:
    """Tables by kind and by source of pictures.

    For pictures of one digit: how many are read correctly and how many are accepted. For others: how many are rejected,
    the mean confidence, and how well confidence tells them from digits. A kind's figures are means over its sources, as
    sources differ in size. ``INDEX.json`` in the folder, if there is one, names the kind of each source; otherwise it
    is the group.

    Args:
        folder: of the pictures.
        answers: by picture.
        synthetic: answers to groups of pictures without a digit that are no files.
        mnist: confidences of the answers to MNIST. With them there is a column for the threshold that accepts
            TARGET_COVERAGE of those: the same coverage for all versions, so that they can be compared.

    Returns:
        Markdown.
    """
    common = None if mnist is None else float(np.quantile(mnist, 1 - TARGET_COVERAGE, method="lower"))
    names = kinds(folder)
    found = {group: _by_source(folder / group, answers) for group in (*LABELLED, *OOD)}
    labelled = [
        (names.get((group, source), group), source, _labelled(pictures, answers, common))
        for group in LABELLED
        for source, pictures in found[group].items()
    ]
    digits = [[answers[picture.path].confidence for picture in pictures] for pictures in found["digits"].values()]
    given = [
        (group, names.get((group, source), group), source, [answers[picture.path] for picture in pictures])
        for group in OOD
        for source, pictures in found[group].items()
    ]
    given += [(group, "synthetic", "synthetic", list(some)) for group, some in (synthetic or {}).items()]
    ood = [(group, kind, source, _ood(some, digits, mnist, common)) for group, kind, source, some in given]
    parts = []
    if labelled:
        parts += [_labelled_by_kind(labelled), _labelled_by_source(labelled)]
    if ood:
        parts += [_ood_by_kind(ood), _ood_by_source(ood)]
    return "\n\n".join(parts)


def kinds(folder: Path) -> dict[tuple[str, str], str]:
    """The kind of each (group, source) that INDEX.json names. Raises TrainingError where that file is damaged."""
    index = folder / "INDEX.json"
    if not index.exists():
        return {}
    try:
        return {(entry["group"], entry["source"]): entry["kind"] for entry in json.loads(index.read_text())}
    except (ValueError, KeyError, TypeError):
        raise TrainingError(f"{index}: expected a list of entries with group, source and kind") from None


def _by_source(folder: Path, answers: Iterable[Path]) -> dict[str, list[Picture]]:
    sources: dict[str, list[Picture]] = defaultdict(list)
    for path in answers:
        if path.parent.parent == folder:
            sources[path.parent.name].append(Picture(path, _label(path)))
    return sources


@dataclass(frozen=True)
class _Labelled:
    """Figures of a source of digits.

    Attributes:
        pictures: how many there are.
        correct: how many were read correctly, rejected or not.
        rejected: how many were rejected.
        below: how many would be rejected by the common threshold; None without one.
    """

    pictures: int
    correct: int
    rejected: int
    below: int | None


def _labelled(pictures: Sequence[Picture], answers: Mapping[Path, Answer], common: float | None) -> _Labelled:
    given = [answers[picture.path] for picture in pictures]
    correct = sum(answer.digit == picture.label for answer, picture in zip(given, pictures, strict=True))
    below = None if common is None else sum(answer.rejected_below(common) for answer in given)
    return _Labelled(len(pictures), correct, sum(answer.rejected for answer in given), below)


_AT_COMMON = f"where {TARGET_COVERAGE:.1%} of MNIST are accepted"


def _labelled_by_kind(rows: Sequence[tuple[str, str, _Labelled]]) -> str:
    by_kind: dict[str, list[_Labelled]] = defaultdict(list)
    for kind, _, figures in rows:
        by_kind[kind].append(figures)
    return table(
        ("kind", "sources", "pictures", "correct", "mean accuracy of sources", "mean accepted of sources", _AT_COMMON),
        [
            (
                kind,
                len(sources),
                sum(source.pictures for source in sources),
                sum(source.correct for source in sources),
                f"{np.mean([source.correct / source.pictures for source in sources]):.1%}",
                f"{np.mean([1 - source.rejected / source.pictures for source in sources]):.1%}",
                _percent(_mean([_accepted_above(source) for source in sources])),
            )
            for kind, sources in by_kind.items()
        ],
    )


def _accepted_above(figures: _Labelled) -> float | None:
    return None if figures.below is None else 1 - figures.below / figures.pictures


def _labelled_by_source(rows: Sequence[tuple[str, str, _Labelled]]) -> str:
    """The source with the lowest accuracy first."""
    return table(
        ("kind", "source", "pictures", "correct", "accuracy", "rejected"),
        [
            (
                kind,
                source,
                figures.pictures,
                figures.correct,
                f"{figures.correct / figures.pictures:.1%}",
                f"{figures.rejected / figures.pictures:.1%}",
            )
            for kind, source, figures in sorted(rows, key=lambda row: row[2].correct / row[2].pictures)
        ],
    )


@dataclass(frozen=True)
class _Ood:
    """Figures of a source of pictures without a single digit.

    Attributes:
        pictures: how many there are.
        rejected: the share rejected.
        below: the share that would be rejected by the common threshold; None without one.
        confidence: mean.
        digits: AUROC of the confidence that tells the folder's digits from these; None without digits.
        mnist: the same for MNIST.
    """

    pictures: int
    rejected: float
    below: float | None
    confidence: float
    digits: float | None
    mnist: float | None


def _ood(
    given: Sequence[Answer], digits: Sequence[Sequence[float]], mnist: Floats | None, common: float | None
) -> _Ood:
    """The figures of a source; ``digits`` are confidences by source, and every source counts the same."""
    confidence = [answer.confidence for answer in given]  # 0 where there is no answer
    return _Ood(
        len(given),
        float(np.mean([answer.rejected for answer in given])),
        None if common is None else float(np.mean([answer.rejected_below(common) for answer in given])),
        float(np.mean(confidence)),
        _mean([auroc(source, confidence) for source in digits]),
        auroc(mnist, confidence) if mnist is not None else None,
    )


_OOD_COLUMNS = ("rejected", _AT_COMMON, "confidence", "AUROC from digits", "AUROC from MNIST")


def _ood_by_kind(rows: Sequence[tuple[str, str, str, _Ood]]) -> str:
    """Means over sources: for each group, then for each kind of source in it where it has several kinds."""
    by_kind: dict[tuple[str, str], list[_Ood]] = defaultdict(list)
    for group, kind, _, figures in rows:
        by_kind[group, "all"].append(figures)
        by_kind[group, kind].append(figures)
    several = {key for key, some in by_kind.items() if key[1] == "all" or len(some) < len(by_kind[key[0], "all"])}
    return table(
        ("no single digit", "kind", "sources", "pictures", *_OOD_COLUMNS),
        [(*key, len(some), *_cells(_together(some))) for key, some in by_kind.items() if key in several],
    )


def _together(sources: Sequence[_Ood]) -> _Ood:
    """All pictures of some sources, and the means of their other figures."""
    return _Ood(
        sum(source.pictures for source in sources),
        float(np.mean([source.rejected for source in sources])),
        _mean([source.below for source in sources]),
        float(np.mean([source.confidence for source in sources])),
        _mean([source.digits for source in sources]),
        _mean([source.mnist for source in sources]),
    )


def _ood_by_source(rows: Sequence[tuple[str, str, str, _Ood]]) -> str:
    return table(
        ("no single digit", "source", "pictures", *_OOD_COLUMNS),
        [(group, source, *_cells(figures)) for group, _, source, figures in rows],
    )


def _cells(figures: _Ood) -> tuple[object, ...]:
    areas = ("" if area is None else f"{area:.3f}" for area in (figures.digits, figures.mnist))
    return (
        figures.pictures, f"{figures.rejected:.1%}", _percent(figures.below), f"{figures.confidence:.2f}", *areas,
    )  # fmt: skip


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
