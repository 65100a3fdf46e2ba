"""Training on drawn digits: repeatable, resumable, and refusing to mix two runs."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from training import data, recipes
from training.data import Digits
from training.errors import TrainingError
from training.fit import Trained, fit
from training.progress import Progress
from training.recipes import Augmentation, Conv, Dense, Dropout, Flatten, MaxPool, Optimiser, Recipe, Softmax

TINY = Recipe(
    name="tiny",
    summary="for tests",
    layers=(Conv(16, stride=2, batch_norm=True), MaxPool(2), Flatten(), Dropout(0.1), Dense(10), Softmax()),
    optimiser=Optimiser("SGD", rate=0.05, schedule="cosine", warmup=0.1, momentum=0.9),
    batch=16,
    epochs=4,
    augmentation=Augmentation(rotate=10, zoom=(0.9, 1.1), shear=0.1, shift=1, elastic=0.5, erase=0.1),
    average=2,
)


@pytest.fixture(scope="module")
def digits(small_data: Path) -> Digits:
    return data.load(small_data, verify=False)


class Stopped(Exception):
    pass


def same(one: Trained, other: Trained) -> bool:
    return all(
        np.array_equal(a, b) for a, b in zip(one.network.get_weights(), other.network.get_weights(), strict=True)
    )


@pytest.fixture(scope="module")
def uninterrupted(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    learned, held_out = digits.held_out()
    return fit(TINY, learned, held_out, tmp_path_factory.mktemp("run"), seed=3)


def test_it_learns(uninterrupted: Trained, digits: Digits) -> None:
    history = uninterrupted.history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "seconds"} <= set(history[0])
    assert history[-1]["loss"] < history[0]["loss"]
    answers = np.asarray(uninterrupted.network(digits.test.images[..., None])).argmax(axis=1)
    assert (answers == digits.test.labels).mean() > 0.8


def test_the_same_seed_gives_the_same_network(uninterrupted: Trained, digits: Digits, tmp_path: Path) -> None:
    learned, held_out = digits.held_out()
    assert same(fit(TINY, learned, held_out, tmp_path / "3", seed=3), uninterrupted)
    assert not same(fit(TINY, learned, held_out, tmp_path / "4", seed=4), uninterrupted)


@pytest.mark.parametrize("epoch", [2, 4])
def test_a_stopped_run_ends_as_if_it_had_not_been(
    uninterrupted: Trained, digits: Digits, tmp_path: Path, epoch: int
) -> None:
    learned, held_out = digits.held_out()

    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.batch) == (epoch, 3):
            raise Stopped

    with pytest.raises(Stopped):
        fit(TINY, learned, held_out, tmp_path, seed=3, report=stop)
    epochs: list[int] = []
    resumed = fit(TINY, learned, held_out, tmp_path, seed=3, report=lambda progress: epochs.append(progress.epoch))
    assert set(epochs) == set(range(epoch, 5))
    assert same(resumed, uninterrupted)
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in uninterrupted.history]


def test_a_checkpoint_written_by_halves_does_not_matter(digits: Digits, tmp_path: Path) -> None:
    learned, _ = digits.held_out()
    short = dataclasses.replace(TINY, epochs=1, average=0)
    (tmp_path / "checkpoint.tmp").write_bytes(b"half")
    assert len(fit(short, learned, None, tmp_path, seed=0).history) == 1


def test_a_run_folder_belongs_to_one_run(digits: Digits, tmp_path: Path) -> None:
    learned, held_out = digits.held_out()
    short = dataclasses.replace(TINY, epochs=1, average=0)
    fit(short, learned, held_out, tmp_path, seed=0)
    with pytest.raises(TrainingError, match="seed"):
        fit(short, learned, held_out, tmp_path, seed=1)
    with pytest.raises(TrainingError, match="recipe"):
        fit(dataclasses.replace(short, batch=32), learned, held_out, tmp_path, seed=0)
    with pytest.raises(TrainingError, match="train"):
        fit(short, learned[:100], held_out, tmp_path, seed=0)


def test_progress_counts_to_the_end(digits: Digits, tmp_path: Path) -> None:
    seen: list[Progress] = []
    short = dataclasses.replace(TINY, epochs=2, average=0, augmentation=None)
    learned, held_out = digits.held_out()
    fit(short, learned, held_out, tmp_path, seed=0, report=seen.append)
    assert [(step.epoch, step.batch) for step in seen] == [(e, b) for e in (1, 2) for b in range(1, 33)]
    assert seen[-1].seconds_left == 0
    assert seen[-1].val_accuracy is not None
    assert "epoch 2/2" in str(seen[-1])


def test_augmented_views_differ_and_stay_in_range(digits: Digits) -> None:
    from training.augment import Augment

    images = digits.train.images[:32, ..., None]
    layer = Augment(recipes.find("default").augmentation or Augmentation(), seed=1)
    views = [np.asarray(layer(images, training=True)) for _ in range(2)]
    assert not np.array_equal(*views)
    for view in views:
        assert view.shape == images.shape
        assert view.min() >= 0
        assert view.max() <= 255
        assert np.array_equal(view, np.rint(view))
    assert np.array_equal(np.asarray(layer(images)), images)


def test_no_augmentation_is_the_image_itself(digits: Digits) -> None:
    from training.augment import Augment

    images = digits.train.images[:8, ..., None]
    assert np.abs(np.asarray(Augment(Augmentation(), seed=1)(images, training=True)) - images).max() <= 1


def test_recipes_are_data() -> None:
    recipe = recipes.find("default")
    assert recipe.as_dict()["layers"][0]["kind"] == "Conv"
    assert dataclasses.replace(recipe, batch=7).digest() != recipe.digest()
    with pytest.raises(TrainingError, match="default"):
        recipes.find("nonesuch")
