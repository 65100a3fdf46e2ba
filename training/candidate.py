"""A candidate: a version that is whole and measured, but not published yet."""

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

from training import export, plots, versions
from training.card import Metrics
from training.data import Digits, Split
from training.errors import TrainingError
from training.evaluate import evaluate
from training.fit import Epoch, fit
from training.progress import Progress
from training.recipes import Recipe

PUBLISHED = "published"  # in a run's folder: where its version went


def produce(
    recipe: Recipe,
    digits: Digits,
    run: Path,
    *,
    final: bool,
    seed: int,
    precision: str,
    report: Callable[[Progress], None],
) -> Path:
    """Train, stage and measure a candidate; its folder, inside ``run``. Raises TrainingError when it was published.

    final: learn from all training images and measure on the test set; otherwise hold some out and measure on those.
    """
    if final:
        learned, validation = digits.train, None
        measured, name = digits.test, "test"
    else:
        learned, validation = digits.held_out()
        measured, name = validation, "validation"
    trained = fit(recipe, learned, validation, run, seed=seed, precision=precision, report=report)
    published = run / PUBLISHED
    if published.exists():
        raise TrainingError(
            f"{run} is done: {published.read_text().strip()}. Pass --fresh to train it again, or another --seed"
        )
    folder = run / "candidate"
    export.renew(folder)
    export.stage(
        trained.network,
        folder,
        recipe=recipe.as_dict(),
        seed=seed,
        precision=precision,
        epochs=recipe.epochs,
        training_seconds=round(sum(row["seconds"] for row in trained.history), 1),
        data={"train": learned.digest(), name: measured.digest()},
    )
    measure(folder, measured, name, trained.history)
    return folder


def measure(folder: Path, split: Split, name: str, history: list[Epoch]) -> Metrics:
    """Measure a staged version through the service, write the figures into its card and draw its report."""
    evaluation = evaluate(folder, split)
    metrics = evaluation.metrics()
    card = dataclasses.replace(versions.card_of(folder), metrics={name: metrics})
    (folder / versions.CARD).write_text(card.to_json())
    report = folder / "report"
    plots.confusion(evaluation, report / "confusion.png")
    plots.mistakes(evaluation, split, report / "mistakes.png")
    if history:
        plots.curves(history, report / "curves.png")
        with (report / "history.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, history[0])
            writer.writeheader()
            writer.writerows(history)
    return metrics
