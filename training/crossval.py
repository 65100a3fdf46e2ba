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

# The order in which images are dealt to the folds, as in the article that dense-512 comes from.
SHUFFLE_SEED = 1


@dataclass(frozen=True)
class Fold:
    """One fold. accuracy: on the images that were left out, after the last epoch."""

    number: int
    history: list[Epoch]

    @property
    def accuracy(self) -> float:
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
    """Train on all folds but one and measure on that one, for each in turn; resumable like ``fit``. Of a recipe with
    several members it trains one, and no scout.

    reuse_network: train one network on through all folds, as tutorials do by mistake. From the second fold on
    it is measured on images that it has learned, so its figures say nothing about new ones.
    """
    recipe = recipe.of_one()
    dealt = KFold(folds, shuffle=True, random_state=SHUFFLE_SEED).split(images.labels)
    for number, (learned, left_out) in enumerate(dealt, start=1):
        trained = fit(
            recipe,
            Split(images.images[learned], images.labels[learned]),
            Split(images.images[left_out], images.labels[left_out]),
            run / f"fold-{number}",
            seed=seed,
            precision=precision,
            start=run / f"fold-{number - 1}" if reuse_network and number > 1 else None,
            report=report,
        )
        yield Fold(number, trained.history)


def summary(folds: list[Fold]) -> str:
    """Mean and standard deviation over the folds (of a sample, n - 1)."""
    accuracies = [fold.accuracy for fold in folds]
    return f"mean {np.mean(accuracies):.3%}, standard deviation {np.std(accuracies, ddof=1):.3%}, n = {len(folds)}"
