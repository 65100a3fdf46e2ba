"""Trains the networks of published tutorials as their articles do, and writes down what came out."""

import dataclasses
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from app.registry import store
from app.registry.manifest import Metrics
from app.retraining.progress import Progress
from training import candidate, markdown, plots
from training.articles import ARTICLES, Article, Variant
from training.crossval import crossval
from training.data import Digits
from training.export import libraries
from training.fit import fit

PAGE, FIGURES = "reproductions.md", "reproductions"  # below the folder of the documents
OUTCOME = "outcome.json"  # in a run's folder


@dataclass(frozen=True)
class Outcome:
    """The figures of one seed of one variant.

    Attributes:
        seed: of the training.
        test: measured through the service on the test images.
        training: the same on the training images, where the article's claim is about those.
        test_accuracies: after every epoch, by Keras, as the articles do it; nothing is chosen by them.
        first_ten: the answers to the first ten test images.
        seconds: of the training.
        precision: of the training.
    """

    seed: int
    test: Metrics
    training: Metrics | None
    test_accuracies: list[float]
    first_ten: list[int]
    seconds: float
    precision: str


def reproduce(
    article: Article,
    digits: Digits,
    runs: Path,
    docs: Path,
    command: str,
    *,
    precision: str,
    stop_after: int | None,
    report: Callable[[Progress], None],
    say: Callable[[str], None],
) -> list[Path]:
    """Train and measure every variant and seed, and write the figures and pictures below ``docs``.

    Resumable: what is measured already in ``runs`` is not trained again.

    Args:
        article: with its variants.
        digits: MNIST.
        runs: folder of the checkpoints.
        docs: folder of the documents.
        command: stands beside the figures.
        precision: a Keras dtype policy.
        stop_after: measure after this many epochs; None for all.
        report: is called with the progress.
        say: is called with a line for every figure.

    Returns:
        The folders of the staged versions, one a variant, of its first seed.
    """
    figures = docs / FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    staged: list[Path] = []
    variants: list[dict[str, Any]] = []
    for variant in article.variants:
        outcomes = []
        for seed in range(article.seeds):
            run = runs / f"{variant.name}-{seed}"
            outcome = _outcome(article, variant, digits, run, seed, precision, stop_after, report)
            say(f"{variant.name}, seed {seed}: test {outcome.test.accuracy:.2%}, nll {outcome.test.nll:.4f}")
            outcomes.append(dataclasses.asdict(outcome))
        first = runs / f"{variant.name}-0" / "candidate"
        shutil.copyfile(first / "report/curves.png", figures / f"{variant.name}.png")
        staged.append(first)
        variants.append({"name": variant.name, "label": variant.label, "outcomes": outcomes})
    if article.first_ten:
        plots.answers(digits.test, variants[0]["outcomes"][0]["first_ten"], figures / f"{article.name}-first-ten.png")
    folds = dict(_cross_validate(article, digits, runs, figures, precision, report, say)) if article.folds else {}
    found = {"command": command, "machine": _machine(), "variants": variants, "folds": folds}
    temporary = figures / f"{article.name}.json.tmp"
    temporary.write_text(json.dumps(found, indent=1) + "\n")
    temporary.replace(figures / f"{article.name}.json")  # hours of training went into the one that was there
    return staged


def _outcome(
    article: Article,
    variant: Variant,
    digits: Digits,
    run: Path,
    seed: int,
    precision: str,
    stop_after: int | None,
    report: Callable[[Progress], None],
) -> Outcome:
    trained = fit(
        variant.recipe,
        digits.train,
        digits.test,
        run,
        seed=seed,
        precision=precision,
        stop_after=stop_after,
        report=report,
    )
    path = run / OUTCOME
    if path.exists():
        found = json.loads(path.read_text())
        if len(found["test_accuracies"]) == len(trained.history):
            metrics = {name: Metrics(**found[name]) if found[name] else None for name in ("test", "training")}
            return Outcome(**found | metrics)
    data = {"train": digits.train.digest(), "test": digits.test.digest()}
    folder = candidate.assemble(trained, variant.recipe, run, seed=seed, precision=precision, data=data)
    splits = {"test": digits.test} | ({"training": digits.train} if article.training_images else {})
    measured = candidate.measure(folder, splits)
    outcome = Outcome(
        seed=seed,
        test=measured["test"].metrics(),
        training=measured["training"].metrics() if article.training_images else None,
        test_accuracies=[round(row["val_accuracy"], 6) for row in trained.history],
        first_ten=measured["test"].digits[:10].tolist(),
        seconds=store.read_manifest(folder).training_seconds or 0.0,
        precision=precision,
    )
    path.write_text(json.dumps(dataclasses.asdict(outcome)))
    return outcome


def _cross_validate(
    article: Article,
    digits: Digits,
    runs: Path,
    figures: Path,
    precision: str,
    report: Callable[[Progress], None],
    say: Callable[[str], None],
) -> Iterator[tuple[str, list[float]]]:
    accuracies: dict[str, list[float]] = {}
    for leaking in (False, True) if article.leaking else (False,):
        way = "leaking" if leaking else "honest"
        histories = []
        accuracies[way] = []
        for fold in crossval(
            article.variants[0].recipe,
            digits.train,
            article.folds,
            runs / f"{article.name}-folds-{way}",
            seed=0,
            precision=precision,
            reuse_network=leaking,
            report=report,
        ):
            say(f"{article.name}, {way} fold {fold.number}: {fold.accuracy:.3%}")
            histories.append(fold.history)
            accuracies[way].append(fold.accuracy)
        plots.folds(histories, figures / f"{article.name}-folds-{way}.png")
        yield way, accuracies[way]
    plots.boxes(accuracies, figures / f"{article.name}-boxes.png")


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with_versions = ", ".join(f"{name} {number}" for name, number in libraries().items())
    return f"{cores} cores ({platform.machine()}), {with_versions}; Keras on {keras.backend.backend()}"


def write_page(docs: Path) -> Path:
    """Write the page of all articles whose figures lie below ``docs``."""
    figures = {name: docs / FIGURES / f"{name}.json" for name in ARTICLES}
    sections = [
        _section(ARTICLES[name], json.loads(path.read_text())) for name, path in figures.items() if path.exists()
    ]
    missing = [name for name, path in figures.items() if not path.exists()]
    told = f"\nNot measured yet: {', '.join(missing)}.\n" if missing else ""
    page = docs / PAGE
    page.write_text(_HEAD + told + "\n".join(sections))
    return page


_HEAD = """# Five tutorials, reproduced

Written by `python -m training reproduce`; the figures lie beside the pictures in `reproductions/`.

Each network is trained on all 60,000 MNIST training images with its article's settings, and measured through the
running service: PNG files in, replies out. Means and standard deviations are over seeds. As in the articles the test
images are measured after every epoch too; nothing was chosen by that. *Loss* is the mean negative logarithm of the
probability given to the true digit. *Time* is that of one seed's training, on a machine that did other work too.
"""


def _section(article: Article, found: dict[str, Any]) -> str:
    splits = ("test", "training") if article.training_images else ("test",)
    head = ["trained for", "seeds"] + [f"{split} {figure}" for split in splits for figure in ("accuracy", "loss")]
    rows, notes = [], []
    for variant, measured in zip(article.variants, found["variants"], strict=True):
        outcomes = measured["outcomes"]
        done, meant = len(outcomes[0]["test_accuracies"]), variant.recipe.epochs
        cells = [measured["label"] if done == meant else f"{done} of {measured['label']}", str(len(outcomes))]
        for split in splits:
            cells.append(_spread([100 * outcome[split]["accuracy"] for outcome in outcomes], 2, " %"))
            cells.append(_spread([outcome[split]["nll"] for outcome in outcomes], 4, ""))
        rows.append([*cells, _duration([outcome["seconds"] for outcome in outcomes])])
        if done != meant or len(outcomes) == 1:  # one figure alone says little
            notes.append(_by_epoch(outcomes[0]["test_accuracies"], article.claimed))
    outcome = found["variants"][0]["outcomes"][0]
    lines = [
        f"\n## {article.name}\n",
        f"*{article.source}*\n",
        f"**Claims:** {article.claim}.\n",
        f"{article.remark}\n",
        markdown.table([*head, "time"], rows) + "\n",
        *notes,
        f"`{found['command']}`, in {outcome['precision']}, {found['machine']}.\n",
    ]
    if article.first_ten:
        answers = ", ".join(map(str, outcome["first_ten"]))
        lines.append(f"The first ten test images are read as {answers}:\n")
        lines.append(f"![the first ten test images with label and answer]({FIGURES}/{article.name}-first-ten.png)\n")
    for variant, measured in zip(article.variants, found["variants"], strict=True):
        lines.append(f"![curves, {measured['label']}]({FIGURES}/{variant.name}.png)\n")
    if found["folds"]:
        lines += _folds(article, found["folds"])
    return "\n".join(lines)


def _by_epoch(accuracies: list[float], claimed: float | None) -> str:
    listed = ", ".join(f"{accuracy:.2%}" for accuracy in accuracies)
    text = f"Test accuracy after each epoch: {listed}."
    if claimed is not None:
        first = next((epoch for epoch, found in enumerate(accuracies, start=1) if found >= claimed), None)
        text += f" It reached {claimed:.1%} " + (f"after epoch {first}." if first else "after none of them.")
    return f"{text}\n"


def _folds(article: Article, folds: dict[str, list[float]]) -> list[str]:
    count = len(folds["honest"])
    headings = {"honest": "a fresh network a fold", "leaking": "**leaking:** one network through all folds"}
    rows = [
        [
            headings[way],
            *(f"{accuracy:.2%}" for accuracy in accuracies),
            _spread([100 * a for a in accuracies], 2, " %"),
        ]
        for way, accuracies in folds.items()
    ]
    lines = [
        f"{count}-fold cross-validation over the training images:\n",
        markdown.table(["", *(f"fold {number}" for number in range(1, count + 1)), "mean ± sd"], rows) + "\n",
    ]
    pictures = [f"{article.name}-folds-{way}" for way in folds] + [f"{article.name}-boxes"]
    return lines + [f"![{picture}]({FIGURES}/{picture}.png)\n" for picture in pictures]


def _spread(values: list[float], decimals: int, unit: str) -> str:
    """The mean, and the standard deviation (of a sample) of several values."""
    mean = f"{np.mean(values):.{decimals}f}"
    return mean + (f" ± {np.std(values, ddof=1):.{decimals}f}" if len(values) > 1 else "") + unit


def _duration(seconds: list[float]) -> str:
    mean = float(np.mean(seconds))
    return f"{mean / 60:.0f} min" if mean >= 120 else f"{mean:.0f} s"
