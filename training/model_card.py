"""The tables of ``docs/model-card.md``: what a version scores through the service, with confidence intervals."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version as version_of
from pathlib import Path

import numpy as np

from app.registry.manifest import Metrics
from app.registry.store import Version
from training import corruptions, image_folder, ood, synthetic_photos
from training.data import Split
from training.errors import TrainingError
from training.evaluate import Evaluation, Service, png, serving
from training.image_folder import Answer, Floats, Picture
from training.markdown import table

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
            parts += _without_a_digit(found, kinds, answers, service, plain)
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
                f"{metrics.accuracy:.2%}",
                _interval(metrics.correct, metrics.images),
                f"{metrics.nll:.4f}",
                f"{metrics.brier:.4f}",
                f"{metrics.ece:.2%}",
                f"{metrics.accepted:.2%}",
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
                f"{counts[digit, digit] / totals[digit]:.2%}",
                _interval(int(counts[digit, digit]), int(totals[digit])),
                f"{counts[digit, digit] / max(1, counts[:, digit].sum()):.2%}",
            )
            for digit in np.flatnonzero(totals).tolist()
        ],
    )


Kinds = dict[tuple[str, str], str]
Answers = dict[Path, Answer]


def _pictures(found: Sequence[Picture], kinds: Kinds, answers: Answers) -> Iterator[str]:
    yield "### Pictures of a digit"
    rows = []
    for kind, sources in _by_kind(found, image_folder.LABELLED, kinds).items():
        correct = {
            source: sum(answers[picture.path].digit == picture.label for picture in pictures)
            for source, pictures in sources.items()
        }
        accepted = [
            np.mean([not answers[picture.path].declined for picture in pictures]) for pictures in sources.values()
        ]
        shares = [correct[source] / len(pictures) for source, pictures in sources.items()]
        count = sum(map(len, sources.values()))
        rows.append(
            (
                kind,
                len(sources),
                count,
                sum(correct.values()),
                f"{sum(correct.values()) / count:.1%}",
                _interval(sum(correct.values()), count, decimals=1),
                f"{np.mean(shares):.1%}",
                f"{np.mean(accepted):.1%}",
            )
        )
    head = ("kind", "sources", "pictures", "correct", "accuracy", "interval")
    yield table((*head, "accuracy, mean of sources", "coverage, mean of sources"), rows)


def _without_a_digit(
    found: Sequence[Picture], kinds: Kinds, answers: Answers, service: Service, plain: Evaluation
) -> Iterator[str]:
    yield "### Pictures without a single digit"
    groups = {
        kind: {source: [answers[picture.path] for picture in pictures] for source, pictures in sources.items()}
        for kind, sources in _by_kind(found, image_folder.OTHERS, kinds).items()
    }
    groups |= {f"{name}, made": {"": [service.answer(png(image)) for image in ood.make(name)]} for name in ood.GROUPS}
    rows = []
    for kind, by_source in groups.items():
        given = [answer for source in by_source.values() for answer in source]
        rejected = sum(answer.declined for answer in given)
        shares = [np.mean([answer.declined for answer in source]) for source in by_source.values()]
        confidence: Floats = np.array([answer.confidence for answer in given])
        rows.append(
            (
                kind,
                len(by_source),
                len(given),
                rejected,
                f"{rejected / len(given):.1%}",
                _interval(rejected, len(given), decimals=1),
                f"{np.mean(shares):.1%}",
                f"{confidence.mean():.2f}",
                f"{image_folder.auroc(plain.confidence, confidence):.3f}",
            )
        )
    head = ("kind", "sources", "pictures", "rejected", "share", "interval", "mean of sources", "mean confidence")
    yield table((*head, "AUROC from MNIST"), rows)


def _by_kind(found: Sequence[Picture], groups: Sequence[str], kinds: Kinds) -> dict[str, dict[str, list[Picture]]]:
    """The pictures of these groups by kind and source, in order."""
    result: dict[str, dict[str, list[Picture]]] = defaultdict(lambda: defaultdict(list))
    for picture in found:
        source, group = picture.path.parent.name, picture.path.parent.parent.name
        if group in groups:
            result[kinds.get((group, source), group)][source].append(picture)
    return result


def _corruptions(service: Service, test: Split, plain: Metrics) -> Iterator[str]:
    yield "### Corrupted test images"
    read = {"none": plain}
    for kind in corruptions.CORRUPTIONS:
        read[kind] = service.read(Split(corruptions.corrupt(kind, test.images), test.labels)).metrics()
    rows = [
        (
            kind,
            f"{metrics.correct:,}",
            f"{metrics.accuracy:.2%}",
            _interval(metrics.correct, metrics.images),
            f"{metrics.accepted:.2%}",
        )
        for kind, metrics in read.items()
    ]
    accuracy = np.mean([metrics.accuracy for kind, metrics in read.items() if kind != "none"])
    coverage = np.mean([metrics.accepted or 0 for kind, metrics in read.items() if kind != "none"])
    rows.append(("**mean of the fifteen**", "", f"**{accuracy:.2%}**", "", f"{coverage:.2%}"))
    yield table(("corruption", f"correct of {plain.images:,}", "accuracy", "interval", "coverage"), rows)


def _synthetic_photos(service: Service, test: Split) -> Iterator[str]:
    yield "### Synthetic photos"
    some = synthetic_photos.some(test)
    labels = some.labels.tolist()
    rows, shares, coverages = [], [], []
    for name in synthetic_photos.SCENES:
        answers = [service.answer(photo) for photo in synthetic_photos.make(name, some)]
        correct = sum(answer.digit == label for answer, label in zip(answers, labels, strict=True))
        shares.append(correct / len(some))
        coverages.append(np.mean([not answer.declined for answer in answers]))
        interval = _interval(correct, len(some), decimals=1)
        rows.append((name, str(correct), f"{shares[-1]:.1%}", interval, f"{coverages[-1]:.1%}"))
    rows.append(("**mean**", "", f"**{np.mean(shares):.1%}**", "", f"{np.mean(coverages):.1%}"))
    yield table(("scene", f"correct of {len(some):,}", "accuracy", "interval", "coverage"), rows)


def _interval(successes: int, trials: int, decimals: int = 2) -> str:
    low, high = wilson(successes, trials)
    return f"{100 * low:.{decimals}f} to {100 * high:.{decimals}f} %"
