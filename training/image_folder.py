"""Pictures in folders, read by the running service, and tables of how well and how surely."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.calibration import ACCEPTED
from training.errors import TrainingError
from training.markdown import table

# What a folder of pictures may hold: GROUP/SOURCE/LABEL_N.EXTENSION. Those of the first two show one digit each.
LABELLED, OTHERS = ("digits", "printed"), ("multi", "ood")

Floats = NDArray[np.float64]

# Reasons to decline that are a matter of confidence; the others are seen on the picture.
_UNSURE = ("no digit", "unsure")

FORMATS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True)
class Picture:
    """A file with the digit that its name begins with, if it does so."""

    path: Path
    label: int | None

    @property
    def source(self) -> str:
        return _printable(self.path.parent.name)

    @property
    def name(self) -> str:
        return _printable(self.path.name)


@dataclass(frozen=True)
class Answer:
    """What the service replied. digit: None where it would not read the picture. confidence: its probability.

    refusal: why it would not read or rather not have read it; empty where it did so without reserve.
    """

    digit: int | None
    confidence: float
    refusal: str = ""

    @property
    def declined(self) -> bool:
        return self.digit is None or bool(self.refusal)

    def declined_below(self, threshold: float) -> bool:
        """Whether it would be declined if this were the least confidence that is accepted."""
        seen = self.declined and self.refusal not in _UNSURE
        return seen or self.confidence < threshold


def find(folder: Path) -> list[Picture]:
    """All pictures in a folder and those below it, in order. Raises TrainingError when there are none."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in FORMATS and path.is_file())
    if not paths:
        raise TrainingError(f"{folder}: no pictures there; they end in {', '.join(FORMATS)}")
    return [Picture(path, _label(path)) for path in paths]


def find_groups(folder: Path) -> list[Picture]:
    """All pictures in a folder's groups. Raises TrainingError when there are none."""
    groups = [group for group in (*LABELLED, *OTHERS) if (folder / group).is_dir()]
    if not groups:
        known = ", ".join((*LABELLED, *OTHERS))
        raise TrainingError(f"{folder}: none of the folders {known} there; `look` takes any folder")
    return [picture for group in groups for picture in find(folder / group)]


def _printable(name: str) -> str:
    """What is no UTF-8 in the name of a file, replaced."""
    return os.fsencode(name).decode(errors="replace")


def _label(path: Path) -> int | None:
    start = path.stem.partition("_")[0]
    return int(start) if len(start) == 1 and start in "0123456789" else None


def auroc(positives: Sequence[float] | Floats, negatives: Sequence[float] | Floats) -> float:
    """Area under the curve of true over false positives: how often one of the positives is greater than one of the
    negatives, a tie counting as half. By the ranks of all (Mann and Whitney, 1947). Both must have values.
    """
    values = np.concatenate([positives, negatives]).astype(np.float64)
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # the mean of those that tie, from 1 on
    count = len(positives)
    wins = float(ranks[:count].sum()) - count * (count + 1) / 2
    return wins / (count * len(negatives))


def tables(
    folder: Path,
    answers: Mapping[Path, Answer],
    made: Mapping[str, Sequence[Answer]] | None = None,
    mnist: Floats | None = None,
) -> str:
    """Markdown: how many are right and how many are declined, by kind and by source; for pictures without a single
    digit how many are declined, how sure the answers are, and how well confidence tells them from digits.

    made: answers to groups of pictures without a digit that are no files. mnist: confidences of the answers to MNIST;
    with them, how many are declined is told also for the threshold that accepts the share ACCEPTED of those, which is
    the same for all versions and so sets them side by side. A kind's figures are means over its sources, since sources
    differ in size. ``INDEX.json`` in the folder, where there is one, names the kind of each source; else it is the
    group.
    """
    common = None if mnist is None else float(np.quantile(mnist, 1 - ACCEPTED, method="lower"))
    names = kinds(folder)
    found = {group: _by_source(folder / group, answers) for group in (*LABELLED, *OTHERS)}
    labelled = [
        (names.get((group, source), group), source, _score(pictures, answers, common))
        for group in LABELLED
        for source, pictures in found[group].items()
    ]
    digits = [[answers[picture.path].confidence for picture in pictures] for pictures in found["digits"].values()]
    others = [
        (group, names.get((group, source), group), source, [answers[picture.path] for picture in pictures])
        for group in OTHERS
        for source, pictures in found[group].items()
    ]
    others += [(group, "made", "made", list(given)) for group, given in (made or {}).items()]
    doubts = [(group, kind, source, _doubt(given, digits, mnist, common)) for group, kind, source, given in others]
    parts = []
    if labelled:
        parts += [_labelled_by_kind(labelled), _labelled_by_source(labelled)]
    if doubts:
        parts += [_doubts_by_kind(doubts), _doubts_by_source(doubts)]
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
class _Score:
    """Of a source of digits, how many there are, were read right, and were declined, whatever was read; and how many
    would be by the common threshold.
    """

    pictures: int
    right: int
    declined: int
    below: int | None


def _score(pictures: Sequence[Picture], answers: Mapping[Path, Answer], common: float | None) -> _Score:
    given = [answers[picture.path] for picture in pictures]
    right = sum(answer.digit == picture.label for answer, picture in zip(given, pictures, strict=True))
    below = None if common is None else sum(answer.declined_below(common) for answer in given)
    return _Score(len(pictures), right, sum(answer.declined for answer in given), below)


def _labelled_by_kind(rows: Sequence[tuple[str, str, _Score]]) -> str:
    by_kind: dict[str, list[_Score]] = defaultdict(list)
    for kind, _, score in rows:
        by_kind[kind].append(score)
    head = ("kind", "sources", "pictures", "right", "mean accuracy of sources", "mean accepted of sources", _AT)
    return table(
        head,
        [
            (
                kind,
                len(scores),
                sum(score.pictures for score in scores),
                sum(score.right for score in scores),
                f"{np.mean([score.right / score.pictures for score in scores]):.1%}",
                f"{np.mean([1 - score.declined / score.pictures for score in scores]):.1%}",
                _percent(_mean([_accepted_above(score) for score in scores])),
            )
            for kind, scores in by_kind.items()
        ],
    )


def _accepted_above(score: _Score) -> float | None:
    return None if score.below is None else 1 - score.below / score.pictures


def _labelled_by_source(rows: Sequence[tuple[str, str, _Score]]) -> str:
    """The worst first."""
    worst = sorted(rows, key=lambda row: row[2].right / row[2].pictures)
    return table(
        ("kind", "source", "pictures", "right", "accuracy", "declined"),
        [
            (
                kind,
                source,
                score.pictures,
                score.right,
                f"{score.right / score.pictures:.1%}",
                f"{score.declined / score.pictures:.1%}",
            )
            for kind, source, score in worst
        ],
    )


@dataclass(frozen=True)
class _Doubt:
    """Of a source without single digits, how many pictures there are, the share declined, and mean confidence.

    below: the share that would be declined by the common threshold. digits, mnist: area under the curve by which
    confidence tells digits, or MNIST's, from these. None without them.
    """

    pictures: int
    declined: float
    below: float | None
    confidence: float
    digits: float | None
    mnist: float | None


def _doubt(
    given: Sequence[Answer], digits: Sequence[Sequence[float]], mnist: Floats | None, common: float | None
) -> _Doubt:
    """digits: confidences by source, each of which counts as much as another."""
    sure = [answer.confidence for answer in given]  # 0 where there is no answer
    return _Doubt(
        len(given),
        float(np.mean([answer.declined for answer in given])),
        None if common is None else float(np.mean([answer.declined_below(common) for answer in given])),
        float(np.mean(sure)),
        _mean([auroc(source, sure) for source in digits]),
        auroc(mnist, sure) if mnist is not None else None,
    )


_AT = f"where {ACCEPTED:.1%} of MNIST are accepted"
_DOUBTS = ("declined", _AT, "confidence", "AUROC from digits", "AUROC from MNIST")


def _doubts_by_kind(rows: Sequence[tuple[str, str, str, _Doubt]]) -> str:
    """Means over sources: for each group, then for each kind of source in it where it has several kinds."""
    by_kind: dict[tuple[str, str], list[_Doubt]] = defaultdict(list)
    for group, kind, _, doubt in rows:
        by_kind[group, "all"].append(doubt)
        by_kind[group, kind].append(doubt)
    several = {key for key, doubts in by_kind.items() if key[1] == "all" or len(doubts) < len(by_kind[key[0], "all"])}
    return table(
        ("no single digit", "kind", "sources", "pictures", *_DOUBTS),
        [(*key, len(doubts), *_shown(_together(doubts))) for key, doubts in by_kind.items() if key in several],
    )


def _together(doubts: Sequence[_Doubt]) -> _Doubt:
    """All their pictures, and the means of what else is known."""
    return _Doubt(
        sum(doubt.pictures for doubt in doubts),
        float(np.mean([doubt.declined for doubt in doubts])),
        _mean([doubt.below for doubt in doubts]),
        float(np.mean([doubt.confidence for doubt in doubts])),
        _mean([doubt.digits for doubt in doubts]),
        _mean([doubt.mnist for doubt in doubts]),
    )


def _doubts_by_source(rows: Sequence[tuple[str, str, str, _Doubt]]) -> str:
    return table(
        ("no single digit", "source", "pictures", *_DOUBTS),
        [(group, source, *_shown(doubt)) for group, _, source, doubt in rows],
    )


def _shown(doubt: _Doubt) -> tuple[object, ...]:
    areas = ("" if area is None else f"{area:.3f}" for area in (doubt.digits, doubt.mnist))
    return doubt.pictures, f"{doubt.declined:.1%}", _percent(doubt.below), f"{doubt.confidence:.2f}", *areas


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
