"""k-fold cross-validation of any recipe."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.model_selection import KFold

from app.retraining.progress import Progress
from training.data import Split
from training.fit import Epoch, fit
from training.recipes import Recipe

# Of the order in which images are dealt to the folds, as in the article of dense-512.
SHUFFLE_SEED = 1


@dataclass(frozen=True)
class Fold:
    """One fold and its history."""

    number: int
    history: list[Epoch]

    @property
    def accuracy(self) -> float:
        """On the images that were held out, after the last epoch."""
        return self.history[-1]["val_accuracy"]


def crossval(
    recipe: Recipe,
    images: Split,
    folds: int,
    run: Path,
    *,
    seed: int,
    precision: str = "float32",
    reuse_network: bool = False,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[Fold]:
    """For each fold train on all others and measure on it; resumable like ``fit``.

    Args:
        recipe: one network of it is trained; no ensemble, and no first stage of a cascade.
        images: all of them.
        folds: how many.
        run: the folder of the checkpoints.
        seed: of every fold's network.
        precision: a Keras dtype policy.
        reuse_network: train one network further through all folds, a mistake of tutorials. From the second fold on it
            is measured on images that it has learned, so its figures say nothing about new images.
        report: is called with the progress of each fold.

    Yields:
        The folds in order, each when it is trained.
    """
    weights = None
    dealt = KFold(folds, shuffle=True, random_state=SHUFFLE_SEED).split(images.labels)
    for number, (learned, held_out) in enumerate(dealt, start=1):
        trained = fit(
            recipe.of_one(),
            Split(images.images[learned], images.labels[learned]),
            Split(images.images[held_out], images.labels[held_out]),
            run / f"fold-{number}",
            seed=seed,
            precision=precision,
            weights=weights,
            report=report,
        )
        weights = trained.network.get_weights() if reuse_network else None
        yield Fold(number, trained.history)


def summary(folds: list[Fold]) -> str:
    """Mean and standard deviation (of a sample, n - 1) over the folds."""
    accuracies = [fold.accuracy for fold in folds]
    return f"mean {np.mean(accuracies):.3%}, standard deviation {np.std(accuracies, ddof=1):.3%}, n = {len(folds)}"
