"""Pictures in folders, read by the running service, and tables of how well."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.errors import TrainingError

# What a folder of pictures may hold: GROUP/SOURCE/LABEL_N.EXTENSION. Those of the first two show one digit each.
LABELLED, OTHERS = ("digits", "printed"), ("multi", "ood")

FORMATS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True)
class Picture:
    """A file with the digit that its name begins with, if it does so."""

    path: Path
    label: int | None

    @property
    def source(self) -> str:
        return self.path.parent.name


@dataclass(frozen=True)
class Answer:
    """What the service replied. digit: None where it would not read the picture. confidence: its probability."""

    digit: int | None
    confidence: float
    refusal: str = ""


def find(folder: Path) -> list[Picture]:
    """All pictures in a folder and those below it, in order. Raises TrainingError when there are none."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in FORMATS and path.is_file())
    if not paths:
        raise TrainingError(f"{folder}: no pictures there; they end in {', '.join(FORMATS)}")
    return [Picture(path, _label(path)) for path in paths]


def _label(path: Path) -> int | None:
    start = path.stem.partition("_")[0]
    return int(start) if len(start) == 1 and start in "0123456789" else None


def tables(folder: Path, answers: Mapping[Path, Answer]) -> str:
    """Markdown: how many are right, by kind and by source; of pictures without a digit, how sure the answers are.

    A kind's accuracy is the mean over its sources, since sources differ in size. ``INDEX.json`` in the folder, where
    there is one, names the kind of each source; else it is the group.
    """
    kinds = _kinds(folder)
    found = {group: _by_source(folder / group, answers) for group in (*LABELLED, *OTHERS)}
    sources = [
        (kinds.get((group, source), group), source, *_score(pictures, answers))
        for group in LABELLED
        for source, pictures in found[group].items()
    ]
    parts = []
    if sources:
        by_kind: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for kind, _, *score in sources:
            by_kind[kind].append((score[0], score[1], score[2]))
        rows = [
            (kind, len(scores), *np.sum(scores, axis=0), f"{np.mean([right / n for n, right, _ in scores]):.1%}")
            for kind, scores in by_kind.items()
        ]
        parts.append(_table(("kind", "sources", "pictures", "right", "refused", "mean over sources"), rows))
        worst = sorted(sources, key=lambda row: row[3] / row[2])
        each = [(*row, f"{row[3] / row[2]:.1%}") for row in worst]
        parts.append(_table(("kind", "source", "pictures", "right", "refused", "accuracy"), each))
    others = [
        (group, source, len(pictures), *_doubt([answers[picture.path] for picture in pictures]))
        for group in OTHERS
        for source, pictures in found[group].items()
    ]
    if others:
        parts.append(_table(("no single digit", "source", "pictures", "refused", "mean confidence"), others))
    return "\n\n".join(parts)


def _kinds(folder: Path) -> dict[tuple[str, str], str]:
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


def _score(pictures: Sequence[Picture], answers: Mapping[Path, Answer]) -> tuple[int, int, int]:
    """How many there are, are right and were refused."""
    given = [answers[picture.path].digit for picture in pictures]
    right = sum(digit == picture.label for digit, picture in zip(given, pictures, strict=True))
    return len(pictures), right, given.count(None)


def _doubt(answers: Sequence[Answer]) -> tuple[int, str]:
    sure = [answer.confidence for answer in answers if answer.digit is not None]
    return len(answers) - len(sure), f"{np.mean(sure):.2f}" if sure else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)
