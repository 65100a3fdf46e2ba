"""The tables of ``docs/model-card.md``: what a version scores through the service, with confidence intervals."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy as np

from app.registry.manifest import Metrics
from app.registry.store import Version
from training import corruptions, image_folder
from training.data import Split
from training.errors import TrainingError
from training.evaluate import Evaluation, Service, png, serving
from training.image_folder import Answer, Floats, Picture
from training.markdown import table
from training.synthetic import ood_evaluation, photos

BEGIN, END = "<!-- begin: python -m training model-card -->", "<!-- end -->"

# Standard deviations to either side of the mean of a normal distribution that hold 95 % of it.
Z_95 = 1.959964


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Wilson, 1927, "Probable inference, the law of succession").

    Args:
        successes: 0 to ``trials``.
        trials: 1 or more.

    Returns:
        The lower and the upper limit, 0 to 1.
    """
    share, squared = successes / trials, Z_95**2
    middle = share + squared / (2 * trials)
    half = Z_95 * math.sqrt(share * (1 - share) / trials + squared / (4 * trials**2))
    scale = 1 + squared / trials
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def measure(version: Version, test: Split, pictures: Path | None = None) -> str:
    """Measure a version through the service.

    Args:
        version: A published one.
        test: The MNIST test images.
        pictures: A folder as `evaluate --pictures` takes it. None leaves its tables out.

    Returns:
        The tables as Markdown, without a newline at the end.

    Raises:
        TrainingError: The version cannot be served, or the folder has no pictures.
    """
    found = image_folder.find_groups(pictures) if pictures else []
    kinds = image_folder.kinds(pictures) if pictures else {}
    with serving(version.path) as service:
        plain = service.read(test)
        parts = [_head(version), *_mnist(plain)]
        if found:
            answers = {picture.path: service.answer(picture.path.read_bytes(), picture.path.name) for picture in found}
            parts += _pictures(found, kinds, answers)
            parts += _without_a_digit(found, answers, service, plain)
        parts += _corruptions(service, test, plain.metrics())
        parts += _synthetic_photos(service, test)
    return "\n\n".join(parts)


def write(page: Path, tables: str) -> None:
    """Put the tables between the two markers of the page, in place of what is there.

    Raises:
        TrainingError: The page lacks a marker.
    """
    text = page.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise TrainingError(f"{page}: the lines {BEGIN} and {END} are not there; the tables go between them")
    page.write_text(f"{before}{BEGIN}\n\n{tables}\n\n{END}{after}")


def _head(version: Version) -> str:
    today = datetime.now(UTC)
    number, runtime = version.manifest.version, f"OpenVINO {version_of('openvino')}"
    return (
        f"Version {number}, measured through the service on {today.day} {today:%B %Y} with {runtime}. "
        "*Interval* is the 95 % confidence interval by Wilson's formula."
    )


def _mnist(plain: Evaluation) -> Iterator[str]:
    metrics = plain.metrics()
    yield "### MNIST test images"
    yield table(
        ("images", "correct", "accuracy", "interval", "NLL", "Brier score", "ECE", "coverage"),
        [
            (
                f"{metrics.images:,}",
                f"{metrics.correct:,}",
                _percent(metrics.accuracy),
                _interval(metrics.correct, metrics.images),
                f"{metrics.nll:.4f}",
                f"{metrics.brier:.4f}",
                _percent(metrics.ece),
                _percent(metrics.accepted),
            )
        ],
    )
    counts, totals = plain.confusion(), np.bincount(plain.labels, minlength=10)
    yield table(
        ("digit", "images", "correct", "recall", "interval", "precision"),
        [
            (
                digit,
                f"{totals[digit]:,}",
                f"{counts[digit, digit]:,}",
                _percent(counts[digit, digit] / totals[digit]),
                _interval(int(counts[digit, digit]), int(totals[digit])),
                _percent(counts[digit, digit] / max(1, counts[:, digit].sum())),
            )
            for digit in np.flatnonzero(totals).tolist()
        ],
    )


Kinds = dict[tuple[str, str], str]
Answers = dict[Path, Answer]
Sources = dict[str, list[Picture]]


def _pictures(found: Sequence[Picture], kinds: Kinds, answers: Answers) -> Iterator[str]:
    yield "### Pictures of a digit"
    by_kind: dict[str, Sources] = defaultdict(lambda: defaultdict(list))
    for picture in found:
        source, group = picture.path.parent.name, picture.path.parent.parent.name
        if group in image_folder.LABELLED:
            by_kind[kinds.get((group, source), group)][source].append(picture)
    rows = []
    for kind, sources in by_kind.items():
        correct = [[answers[one.path].digit == one.label for one in pictures] for pictures in sources.values()]
        accepted = [[not answers[one.path].rejected for one in pictures] for pictures in sources.values()]
        total, count = sum(map(sum, correct)), sum(map(len, correct))
        rows.append(
            (
                kind,
                len(sources),
                count,
                total,
                _percent(total / count, 1),
                _interval(total, count, 1),
                _percent(_mean_of_sources(correct), 1),
                _percent(_mean_of_sources(accepted), 1),
            )
        )
    head = ("kind", "sources", "pictures", "correct", "accuracy", "interval")
    yield table((*head, "accuracy, mean of sources", "coverage, mean of sources"), rows)


def _without_a_digit(found: Sequence[Picture], answers: Answers, service: Service, plain: Evaluation) -> Iterator[str]:
    """By what they show, which the name of a source says before its first ``_``."""
    yield "### Pictures without a single digit"
    by_content: dict[str, dict[str, list[Answer]]] = defaultdict(lambda: defaultdict(list))
    for picture in found:
        source, group = picture.path.parent.name, picture.path.parent.parent.name
        if group in image_folder.OOD:
            content = "several digits" if group == "multi" else source.partition("_")[0]
            by_content[content][source].append(answers[picture.path])
    for name in ood_evaluation.GROUPS:
        by_content[f"{name}, synthetic"][""] = [service.answer(png(image)) for image in ood_evaluation.make(name)]
    rows = []
    for content, sources in by_content.items():
        rejected = [[answer.rejected for answer in given] for given in sources.values()]
        total, count = sum(map(sum, rejected)), sum(map(len, rejected))
        confidence: Floats = np.array([answer.confidence for given in sources.values() for answer in given])
        rows.append(
            (
                content,
                len(sources),
                count,
                total,
                _percent(total / count, 1),
                _interval(total, count, 1),
                _percent(_mean_of_sources(rejected), 1),
                f"{confidence.mean():.2f}",
                f"{image_folder.auroc(plain.confidence, confidence):.3f}",
            )
        )
    head = ("content", "sources", "pictures", "rejected", "share", "interval", "mean of sources", "mean confidence")
    yield table((*head, "AUROC from MNIST"), rows)


def _mean_of_sources(flags: Sequence[Sequence[bool]]) -> float:
    """Each source counts as much as another, since they differ in size."""
    return float(np.mean([np.mean(source) for source in flags]))


def _corruptions(service: Service, test: Split, plain: Metrics) -> Iterator[str]:
    yield "### Corrupted test images"
    read = {"none": plain}
    for kind in corruptions.CORRUPTIONS:
        read[kind] = service.read(Split(corruptions.corrupt(kind, test.images), test.labels)).metrics()
    rows = [
        (
            kind,
            f"{metrics.correct:,}",
            _percent(metrics.accuracy),
            _interval(metrics.correct, metrics.images),
            _percent(metrics.accepted),
        )
        for kind, metrics in read.items()
    ]
    accuracy = np.mean([metrics.accuracy for kind, metrics in read.items() if kind != "none"])
    coverage = np.mean([metrics.accepted or 0 for kind, metrics in read.items() if kind != "none"])
    rows.append(("**mean of the fifteen**", "", f"**{_percent(accuracy)}**", "", _percent(coverage)))
    yield table(("corruption", f"correct of {plain.images:,}", "accuracy", "interval", "coverage"), rows)


def _synthetic_photos(service: Service, test: Split) -> Iterator[str]:
    yield "### Synthetic photos"
    some = photos.some(test)
    labels = some.labels.tolist()
    rows, shares, coverages = [], [], []
    for name in photos.SCENES:
        answers = [service.answer(photo) for photo in photos.make(name, some)]
        correct = sum(answer.digit == label for answer, label in zip(answers, labels, strict=True))
        shares.append(correct / len(some))
        coverages.append(np.mean([not answer.rejected for answer in answers]))
        interval = _interval(correct, len(some), 1)
        rows.append((name, str(correct), _percent(shares[-1], 1), interval, _percent(coverages[-1], 1)))
    rows.append(("**mean**", "", f"**{_percent(np.mean(shares), 1)}**", "", _percent(np.mean(coverages), 1)))
    yield table(("scene", f"correct of {len(some):,}", "accuracy", "interval", "coverage"), rows)


def _percent(share: float | np.floating[Any] | None, decimals: int = 2) -> str:
    return "" if share is None else f"{100 * share:.{decimals}f} %"


def _interval(successes: int, trials: int, decimals: int = 2) -> str:
    low, high = wilson(successes, trials)
    return f"{100 * low:.{decimals}f} to {100 * high:.{decimals}f} %"
