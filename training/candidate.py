"""A candidate: a version that is complete and measured, but not published yet."""

import csv
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from app.registry import store
from app.registry.store import Version
from app.retraining.progress import Progress
from training import export, plots
from training.data import Digits, Split
from training.errors import TrainingError
from training.evaluate import Evaluation, serving
from training.feedback import Feedback, mix
from training.fit import Trained, fit
from training.network import Weights
from training.recipes import FEEDBACK_SHARE, Recipe

CANDIDATE, PUBLISHED = "candidate", "published"  # in a run's folder: the version, and where it went


def produce(
    recipe: Recipe,
    digits: Digits,
    run: Path,
    *,
    final: bool,
    seed: int,
    precision: str,
    start: Version | None = None,
    feedback: Feedback | None = None,
    share: float = FEEDBACK_SHARE,
    images: int | None = None,
    report: Callable[[Progress], None],
) -> Path:
    """Train, stage and measure a candidate.

    Args:
        recipe: what to train.
        digits: MNIST.
        run: the folder of the checkpoints and of the candidate.
        final: learn from all training images and measure on the test set; otherwise hold some out to measure on.
        seed: of the training, and of the choice of images.
        precision: a Keras dtype policy.
        start: the version whose network this one begins with. If that has learned the images held out, they are no
            measure of this one either, and it is not measured on them.
        feedback: corrections to learn from; the candidate is measured on those held out.
        share: of the feedback in all that is learned.
        images: how many of MNIST to learn from, at most.
        report: is called with the progress.

    Returns:
        The candidate's folder, inside ``run``.

    Raises:
        TrainingError: when it was published before.
    """
    mnist, held_out = (digits.train, None) if final else digits.held_out()
    validation = held_out if held_out and not (start and start.manifest.has_learned(held_out.digest())) else None
    measured = {"test": digits.test} if final else {"validation": validation} if validation else {}
    if feedback and len(feedback.held_out):
        measured["feedback"] = feedback.held_out
    learned = mix(mnist, feedback.train if feedback else mnist[:0], share=share, images=images, seed=seed)
    data = {"train": learned.digest()} | {name: split.digest() for name, split in measured.items()}
    parent = start.manifest.version if start else None
    folder = run / CANDIDATE
    made = {"recipe": recipe.as_dict(), "seed": seed, "precision": precision, "data": data, "parent": parent}
    done = _is_complete(folder, made, set(measured))
    if not done:
        trained = fit(
            recipe,
            learned,
            held_out,  # also where the parent has learned it: it shows what is forgotten
            run,
            seed=seed,
            precision=precision,
            weights=_weights(start.path / store.KERAS) if start else None,
            first_stage=_weights(start.first_stage) if start and recipe.first_stage else None,
            report=report,
        )
    published = run / PUBLISHED
    if published.exists():
        raise TrainingError(
            f"{run} is done: {published.read_text().strip()}. Pass --fresh to train it again, or another --seed"
        )
    if not done:
        assemble(trained, recipe, run, seed=seed, precision=precision, data=data, parent=parent)
        if measured:
            measure(folder, measured)
    return folder


def _is_complete(folder: Path, made: dict[str, Any], measured: set[str]) -> bool:
    """Whether this candidate was staged and measured before."""
    try:
        manifest = store.verify(folder).manifest
    except store.VersionError:
        return False
    found = {name: getattr(manifest, name) for name in made}
    return found == json.loads(json.dumps(made)) and set(manifest.metrics) == measured


def assemble(
    trained: Trained,
    recipe: Recipe,
    run: Path,
    *,
    seed: int,
    precision: str,
    data: dict[str, str],
    parent: int | None = None,
) -> Path:
    """Stage a trained network in its run's folder, with its curves and not measured yet.

    Args:
        trained: the network and its history.
        recipe: that it was trained by.
        run: the run's folder.
        seed: for the manifest.
        precision: for the manifest.
        data: digests by what the images are for.
        parent: the version that it began with.

    Returns:
        The folder of the staged version.
    """
    folder = run / CANDIDATE
    export.renew(folder)
    report = folder / "report"
    plots.curves(trained.history, report / "curves.png", recipe.ensemble_size)
    with (report / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, trained.history[0])
        writer.writeheader()
        writer.writerows(trained.history)
    export.stage(
        trained.network,
        folder,
        first_stage=trained.first_stage and trained.first_stage.network,
        recipe=recipe.as_dict(),
        seed=seed,
        precision=precision,
        epochs=len(trained.history),
        training_seconds=round(trained.seconds, 1),
        data=data,
        parent=parent,
        temperature=recipe.temperature,
        threshold=recipe.threshold,
        tta_threshold=recipe.tta_threshold,
        cascade_threshold=recipe.cascade_threshold if trained.first_stage else None,
    )
    return folder


def _weights(path: Path) -> Weights:
    weights: Weights = export.import_keras(path).get_weights()
    return weights


def measure(folder: Path, splits: Mapping[str, Split]) -> dict[str, Evaluation]:
    """Measure a staged version through the service, and add the figures to its manifest.

    Args:
        folder: of the version.
        splits: what to measure on. The pictures of the report are of the first.

    Returns:
        The evaluations by split.
    """
    with serving(folder) as service:
        found = {name: service.read(split) for name, split in splits.items()}
    manifest = store.read_manifest(folder)
    if not manifest.metrics:
        first = next(iter(found))
        plots.confusion(found[first], folder / "report" / "confusion.png")
        plots.reliability(found[first], folder / "report" / "reliability.png")
        plots.errors(found[first], splits[first], folder / "report" / "mistakes.png")
    figures = {name: evaluation.metrics() for name, evaluation in found.items()}
    (folder / store.MANIFEST).write_text(dataclasses.replace(manifest, metrics=manifest.metrics | figures).to_json())
    return found
