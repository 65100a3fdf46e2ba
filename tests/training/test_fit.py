"""Training on drawn digits: deterministic, resumable, and refusing to mix two runs."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.retraining.progress import Progress
from training import data, recipes
from training.data import Digits
from training.errors import TrainingError
from training.fit import Trained, fit
from training.recipes import Augmentation, Conv, Dense, Dropout, Flatten, MaxPool, Optimiser, Recipe, Softmax

TINY = Recipe(
    name="tiny",
    summary="for tests",
    layers=(Conv(16, stride=2, batch_norm=True), MaxPool(2), Flatten(), Dropout(0.1), Dense(10), Softmax()),
    optimiser=Optimiser("SGD", learning_rate=0.05, schedule="cosine", warmup=0.1, momentum=0.9),
    batch_size=16,
    epochs=4,
    augmentation=Augmentation(rotate=10, zoom=(0.9, 1.1), shear=0.1, shift=1, elastic=0.5, erase=0.1),
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
    assert not same(fit(TINY, learned, held_out, tmp_path / "4", seed=4, stop_after=1), uninterrupted)


PAIR = dataclasses.replace(TINY, epochs=2, ensemble_size=2)


@pytest.fixture(scope="module")
def pair(digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return fit(PAIR, digits.train[:400], None, tmp_path_factory.mktemp("pair"), seed=3)


def weights_of(trained: Trained) -> list[list[NDArray[np.float32]]]:
    weights = trained.network.get_weights()
    return [weights[: len(weights) // 2], weights[len(weights) // 2 :]]


def test_an_ensemble_is_the_networks_of_seeds_of_their_own(pair: Trained, digits: Digits, tmp_path: Path) -> None:
    alone = [
        fit(
            dataclasses.replace(PAIR, ensemble_size=1), digits.train[:400], None, tmp_path / str(seed), seed=seed
        ).network
        for seed in (6, 7)
    ]
    for own, network in zip(weights_of(pair), alone, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(own, network.get_weights(), strict=True))
    images = digits.test.images[:50, ..., None]
    mean = np.mean([np.asarray(network(images)) for network in alone], axis=0)
    assert np.allclose(np.asarray(pair.network(images)), mean, atol=1e-6)
    assert [row["epoch"] for row in pair.history] == [1, 2, 3, 4]


def test_a_stopped_ensemble_ends_as_if_it_had_not_been(pair: Trained, digits: Digits, tmp_path: Path) -> None:
    """Stopped in the second network's second epoch."""

    def stop(progress: Progress) -> None:
        assert progress.epochs == 4
        if (progress.epoch, progress.batch) == (4, 3):
            raise Stopped

    with pytest.raises(Stopped):
        fit(PAIR, digits.train[:400], None, tmp_path, seed=3, report=stop)
    seen: list[Progress] = []
    assert same(fit(PAIR, digits.train[:400], None, tmp_path, seed=3, report=seen.append), pair)
    assert {progress.epoch for progress in seen} == {4}
    assert seen[-1].seconds_left == 0


def test_an_ensemble_is_fine_tuned_from_its_own_weights(pair: Trained, digits: Digits, tmp_path: Path) -> None:
    on = fit(PAIR, digits.train[:200], None, tmp_path / "on", seed=0, weights=pair.network.get_weights())
    second = fit(
        dataclasses.replace(PAIR, ensemble_size=1),
        digits.train[:200],
        None,
        tmp_path / "second",
        seed=1,
        weights=weights_of(pair)[1],
    )
    assert all(np.array_equal(a, b) for a, b in zip(weights_of(on)[1], second.network.get_weights(), strict=True))
    with pytest.raises(TrainingError, match="not those of the recipe"):
        fit(PAIR, digits.train[:200], None, tmp_path / "odd", seed=0, weights=pair.network.get_weights()[:-1])


CASCADE = dataclasses.replace(PAIR, first_stage=(Flatten(), Dense(10), Softmax()))


def test_a_first_stage_is_trained_after_the_ensemble_on_the_same_images(
    pair: Trained, digits: Digits, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    cascade = fit(CASCADE, digits.train[:400], None, tmp_path / "run", seed=3, report=seen.append)
    assert same(cascade, pair)
    assert cascade.history[0].keys() == pair.history[0].keys()
    assert len(cascade.history) == 4
    assert (seen[-1].epoch, seen[-1].epochs, seen[-1].seconds_left) == (6, 6, 0)
    small = dataclasses.replace(TINY, epochs=2, layers=CASCADE.first_stage)
    alone = fit(small, digits.train[:400], None, tmp_path / "alone", seed=3)
    assert cascade.first_stage
    assert same(cascade.first_stage, alone)
    assert cascade.seconds == pytest.approx(
        sum(row["seconds"] for row in [*cascade.history, *cascade.first_stage.history])
    )
    on = fit(
        CASCADE,
        digits.train[:200],
        None,
        tmp_path / "on",
        seed=0,
        weights=cascade.network.get_weights(),
        first_stage=alone.network.get_weights(),
    )
    also = fit(small, digits.train[:200], None, tmp_path / "also", seed=0, weights=alone.network.get_weights())
    assert on.first_stage
    assert same(on.first_stage, also)


def test_a_single_network_may_have_a_first_stage_too(digits: Digits, tmp_path: Path) -> None:
    cascade = fit(dataclasses.replace(CASCADE, ensemble_size=1, epochs=1), digits.train[:200], None, tmp_path, seed=0)
    assert cascade.first_stage
    assert cascade.first_stage.network.count_params() == 7850


def test_a_stopped_run_ends_as_if_it_had_not_been(uninterrupted: Trained, digits: Digits, tmp_path: Path) -> None:
    learned, held_out = digits.held_out()

    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.batch) == (3, 3):
            raise Stopped

    with pytest.raises(Stopped):
        fit(TINY, learned, held_out, tmp_path, seed=3, report=stop)
    epochs: list[int] = []
    resumed = fit(TINY, learned, held_out, tmp_path, seed=3, report=lambda progress: epochs.append(progress.epoch))
    assert set(epochs) == {3, 4}
    assert same(resumed, uninterrupted)
    assert [row["loss"] for row in resumed.history] == [row["loss"] for row in uninterrupted.history]


def test_a_checkpoint_is_replaced_whole_or_not_at_all(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills while the second epoch's checkpoint is written: the first epoch's is still there."""
    import os

    learned, _ = digits.held_out()
    short = dataclasses.replace(TINY, epochs=2)
    sync, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        fit(short, learned, None, tmp_path, seed=0)
    epochs: list[int] = []
    fit(short, learned, None, tmp_path, seed=0, report=lambda progress: epochs.append(progress.epoch))
    assert set(epochs) == {2}


def test_damaged_files_of_a_run_are_named(digits: Digits, tmp_path: Path) -> None:
    learned, _ = digits.held_out()
    short = dataclasses.replace(TINY, epochs=1)
    fit(short, learned, None, tmp_path, seed=0)
    for name in ("checkpoint.npz", "run.json"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(TrainingError, match=f"{name} is damaged.*--fresh"):
            fit(short, learned, None, tmp_path, seed=0)
        (tmp_path / name).write_bytes(content)


def test_two_processes_do_not_share_a_run(digits: Digits, tmp_path: Path) -> None:
    learned, _ = digits.held_out()

    def second(progress: Progress) -> None:
        with pytest.raises(TrainingError, match="another process"):
            fit(TINY, learned, None, tmp_path, seed=3)
        raise Stopped

    with pytest.raises(Stopped):
        fit(TINY, learned, None, tmp_path, seed=3, report=second)


def test_the_learning_rate_rises_and_falls() -> None:
    from training.fit import _learning_rate

    rate = _learning_rate(
        Optimiser("SGD", learning_rate=0.1, schedule="cosine", warmup=0.2, min_learning_rate=0.001), steps=1000
    )
    assert callable(rate)
    steps = [0, 100, 200, 600, 999]
    assert [float(rate(step)) for step in steps] == pytest.approx([0.001, 0.0505, 0.1, 0.0505, 0.001], rel=0.01)
    assert _learning_rate(Optimiser("SGD", learning_rate=0.1), steps=10) == 0.1


def test_it_begins_with_the_weights_given(uninterrupted: Trained, digits: Digits, tmp_path: Path) -> None:
    """At a learning rate of 0 they come out as they went in."""
    learned, _ = digits.held_out()
    still = dataclasses.replace(TINY, epochs=1, optimiser=Optimiser("SGD", learning_rate=0.0))
    weights = uninterrupted.network.get_weights()
    trained = fit(still, learned, None, tmp_path / "run", seed=4, weights=weights).network
    for variable, was in zip(trained.trainable_variables, uninterrupted.network.trainable_variables, strict=True):
        assert np.array_equal(variable, was)
    with pytest.raises(TrainingError, match="start"):
        fit(still, learned, None, tmp_path / "run", seed=4, weights=[array + 1 for array in weights])
    with pytest.raises(TrainingError, match="start"):
        fit(still, learned, None, tmp_path / "run", seed=4)
    with pytest.raises(TrainingError, match="weights"):
        fit(still, learned, None, tmp_path / "other", seed=4, weights=weights[:-1])


def test_a_stopped_run_that_began_with_weights_goes_on(uninterrupted: Trained, digits: Digits, tmp_path: Path) -> None:
    learned, _ = digits.held_out()
    short, weights = dataclasses.replace(TINY, epochs=2), uninterrupted.network.get_weights()
    whole = fit(short, learned, None, tmp_path / "whole", seed=4, weights=weights)

    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.batch) == (2, 3):
            raise Stopped

    with pytest.raises(Stopped):
        fit(short, learned, None, tmp_path / "stopped", seed=4, weights=weights, report=stop)
    assert same(fit(short, learned, None, tmp_path / "stopped", seed=4, weights=weights), whole)


def test_a_resumed_run_cools_down_as_one_that_was_not_stopped(digits: Digits, tmp_path: Path) -> None:
    """And changes fewer images from then on: what was compiled before is compiled again."""
    learned, _ = digits.held_out()
    recipe = dataclasses.replace(TINY, epochs=3, cooldown_epochs=2, augmentation=Augmentation(noise=1.0))
    whole = fit(recipe, learned, None, tmp_path / "whole", seed=4)
    fit(recipe, learned, None, tmp_path / "stopped", seed=4, stop_after=1)
    assert same(fit(recipe, learned, None, tmp_path / "stopped", seed=4), whole)
    assert whole.history[1]["loss"] < whole.history[0]["loss"] - 0.2


def test_cooled_down_augmentation_changes_a_quarter_as_many_images() -> None:
    from training.augment import Augment

    image = bar(4, 12, 20, 4)
    layer = Augment(Augmentation(noise=0.8, shift=2.0), seed=1)
    layer.cool_down()
    found = np.asarray(layer(np.stack([image] * 2000)[..., None], training=True))[..., 0]
    warped = views(Augmentation(shift=2.0), image, 2000)  # the same seed, so the same shifts
    assert (found != warped).any(axis=(1, 2)).mean() == pytest.approx(0.2, abs=0.03)


def test_a_run_folder_belongs_to_one_run(digits: Digits, tmp_path: Path) -> None:
    learned, held_out = digits.held_out()
    short = dataclasses.replace(TINY, epochs=1)
    fit(short, learned, held_out, tmp_path, seed=0)
    with pytest.raises(TrainingError, match="seed"):
        fit(short, learned, held_out, tmp_path, seed=1)
    with pytest.raises(TrainingError, match="recipe"):
        fit(dataclasses.replace(short, batch_size=32), learned, held_out, tmp_path, seed=0)
    with pytest.raises(TrainingError, match="train"):
        fit(short, learned[:100], held_out, tmp_path, seed=0)


def test_progress_counts_to_the_end(digits: Digits, tmp_path: Path) -> None:
    seen: list[Progress] = []
    short = dataclasses.replace(TINY, epochs=2, augmentation=None)
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


def views(augmentation: Augmentation, image: NDArray[np.uint8], count: int = 400) -> NDArray[np.float32]:
    from training.augment import Augment

    return np.asarray(Augment(augmentation, seed=1)(np.stack([image] * count)[..., None], training=True))[..., 0]


def dot(y: int, x: int) -> NDArray[np.uint8]:
    """A soft dot, whose centre can be measured to a fraction of a pixel."""
    yy, xx = np.mgrid[:28, :28]
    return np.rint(255 * np.exp(-((yy - y) ** 2 + (xx - x) ** 2) / 4)).astype(np.uint8)


def middles(images: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, 2): y and x from the image's centre."""
    places = np.arange(28) - 13.5
    mass = images.sum(axis=(1, 2))
    return np.stack([images.sum(axis=2) @ places / mass, images.sum(axis=1) @ places / mass], axis=1)


def test_no_augmentation_is_the_image_itself(digits: Digits) -> None:
    assert np.array_equal(views(Augmentation(), digits.train.images[0], 8)[3], digits.train.images[0])


def test_rotations_keep_the_distance_and_spread_over_the_angle() -> None:
    found = middles(views(Augmentation(rotate=30), dot(14, 21)))
    assert np.hypot(*found.T) == pytest.approx(np.hypot(0.5, 7.5), abs=0.15)
    angles = np.rad2deg(np.arctan2(found[:, 0], found[:, 1])) - np.rad2deg(np.arctan2(0.5, 7.5))
    assert 27 < angles.max() < 31
    assert -31 < angles.min() < -27
    assert abs(angles.mean()) < 3


def test_zoom_moves_outwards_by_its_factor_each_way_alone() -> None:
    found = middles(views(Augmentation(zoom=(1.2, 1.2)), dot(18, 18)))
    assert found == pytest.approx(np.full_like(found, 4.5 * 1.2), abs=0.1)
    found = middles(views(Augmentation(zoom=(0.8, 1.25)), dot(18, 18))) / 4.5
    assert found.min() == pytest.approx(0.8, abs=0.05)
    assert found.max() == pytest.approx(1.25, abs=0.05)
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.2


def test_shift_and_shear_are_as_large_as_told() -> None:
    found = middles(views(Augmentation(shift=3), dot(14, 14))) - 0.5
    assert found.max() == pytest.approx(3, abs=0.1)
    assert found.min() == pytest.approx(-3, abs=0.1)
    found = middles(views(Augmentation(shear=0.3), dot(21, 14)))
    assert found[:, 0] == pytest.approx(7.5, abs=0.1)
    assert np.abs(found[:, 1] - 0.5).max() == pytest.approx(0.3 * 7.5, abs=0.2)


def test_the_elastic_field_has_the_deviation_told_and_is_smooth() -> None:
    moved = middles(views(Augmentation(elastic=0.8), dot(14, 14)))
    assert moved.std(axis=0) == pytest.approx([0.8, 0.8], rel=0.15)
    beside = middles(views(Augmentation(elastic=0.8), dot(14, 15)))  # the same seed, so the same fields
    assert np.abs((beside - moved)[:, 1] - 1).mean() < 0.3


def test_erasing_takes_its_share_and_its_size() -> None:
    white = np.full((28, 28), 255, np.uint8)
    erased = (views(Augmentation(erase=0.25), white, 2000) == 0).sum(axis=(1, 2))
    assert (erased > 0).mean() == pytest.approx(0.25, abs=0.04)
    assert erased.max() <= 9 * 9
    assert np.median(erased[erased > 0]) > 3 * 3


def bar(top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
    image = np.zeros((28, 28), np.uint8)
    image[top : top + height, left : left + width] = 255
    return image


@pytest.mark.parametrize("name", ["pen", "hollow", "line", "blur", "coarse", "noise"])
def test_each_view_happens_as_often_as_told(name: str) -> None:
    image = bar(4, 12, 20, 4)
    changed = (views(Augmentation(**{name: 0.25}), image, 2000) != image).any(axis=(1, 2))
    # A line may lie on the foreground, and noise may be next to none.
    assert 0.15 < changed.mean() < 0.3


def test_the_pen_gets_thicker_and_thinner() -> None:
    foreground = views(Augmentation(pen=1), bar(4, 12, 20, 4)).sum(axis=(1, 2)) / (255 * 20 * 4)
    assert foreground.max() == pytest.approx(22 * 6 / (20 * 4), abs=0.05)
    assert foreground.min() == pytest.approx(1 - 0.6 * (1 - 18 * 2 / (20 * 4)), abs=0.05)


def test_hollow_strokes_keep_their_outline() -> None:
    found = views(Augmentation(hollow=1), bar(4, 10, 20, 8))
    assert found[:, 6:22, 12:16].max() == 0
    assert found[:, 6:22, 10].min() == 255


def test_a_neighbour_stands_beside_the_digit_not_in_it(digits: Digits) -> None:
    from training.augment import Augment

    layer = Augment(Augmentation(neighbour=0.25), seed=1)
    images = np.stack([bar(4, 8, 20, 12)] * 200)[..., None]
    batches = [np.asarray(layer(images, training=True))[..., 0] for _ in range(20)]  # each has one distance and side
    found = np.concatenate(batches)
    assert found[:, 4:24, 8:20].min() == 255
    beside = (found[:, 14] > 0).sum(axis=1) > 12
    assert 0.12 < beside.mean() < 0.26  # at the greatest distances only background is seen
    assert (found[:, 14, 0] > 0).any()
    assert (found[:, 14, 27] > 0).any()
    assert found[:, :, 6:8].max() == found[:, :, 20:22].max() == 0


def test_blur_spreads_the_foreground_and_loses_none() -> None:
    image = bar(10, 10, 8, 8)
    found = views(Augmentation(blur=1), image)
    assert found.sum(axis=(1, 2)) == pytest.approx(image.sum(), rel=0.01)
    assert np.median(found[:, 9, 13]) > 10
    assert found.max(axis=(1, 2)).min() > 200


def test_lines_are_thin_and_reach_all_over() -> None:
    found = views(Augmentation(line=1), np.zeros((28, 28), np.uint8))
    assert ((found > 0).mean(axis=(1, 2)) < 0.35).mean() > 0.95
    assert (found.max(axis=0) > 0).all()


def test_a_zigzag_does_not_break_off_where_it_turns() -> None:
    from training.augment import _zigzag

    phase = np.linspace(-3, 3, 6001)
    found = np.asarray(_zigzag(phase))
    assert np.abs(np.diff(found)).max() < 0.005
    assert (found.min(), found.max()) == pytest.approx((-1, 1), abs=0.005)
    assert found[phase == 0] == -1


def test_hard_edges_leave_full_foreground_and_background() -> None:
    ramp = np.repeat(np.linspace(0, 255, 28).astype(np.uint8)[None], 28, axis=0)
    found = views(Augmentation(hard=0.25), ramp, 2000)
    hard = np.isin(found, (0, 255)).all(axis=(1, 2))
    assert hard.mean() == pytest.approx(0.25, abs=0.04)
    assert (found[~hard] == ramp).all()
    thresholds = (found[hard] == 0).sum(axis=2)[:, 0] * 255 / 27
    assert (thresholds.min(), thresholds.max()) == pytest.approx((30, 180), abs=15)


def test_haze_lies_on_the_background_and_is_smooth() -> None:
    """Grain differs from pixel to pixel; what neighbours share is haze."""
    found = views(Augmentation(noise=1), np.zeros((28, 28), np.uint8), 500).astype(float)
    shared = [np.corrcoef(image[:, :-1].ravel(), image[:, 1:].ravel())[0, 1] for image in found if image.any()]
    assert np.quantile(shared, 0.25) < 0.1
    assert np.quantile(shared, 0.9) > 0.3


def test_synthetic_digits_and_pictures_without_one_are_learned_too(digits: Digits, tmp_path: Path) -> None:
    """A network that has learned pictures without a digit is less confident of them."""
    from training.synthetic import ood

    plain = dataclasses.replace(TINY, epochs=6, augmentation=None)
    warned = dataclasses.replace(plain, synthetic_share=0.2, ood_share=0.5)
    pictures = ood.make(200, digits.train.images, 99)[..., None]
    confidence = []
    for name, recipe in (("plain", plain), ("warned", warned)):
        network = fit(recipe, digits.train, None, tmp_path / name, seed=0).network
        confidence.append(float(np.asarray(network(pictures, training=False)).max(axis=1).mean()))
        read = np.asarray(network(digits.test.images[..., None], training=False)).argmax(axis=1)
        assert (read == digits.test.labels).mean() > 0.5
    assert confidence[1] < confidence[0] - 0.1


def test_accuracy_counts_digits_only(digits: Digits, tmp_path: Path) -> None:
    recipe = dataclasses.replace(TINY, epochs=8, augmentation=None, ood_share=1.0)
    assert fit(recipe, digits.train, None, tmp_path, seed=0).history[-1]["accuracy"] > 0.6


def test_a_temperature_lowers_the_confidence_and_fine_tuning_takes_it_back(digits: Digits, tmp_path: Path) -> None:
    from training.calibration import tempered

    images = digits.test.images[..., None]
    plain = dataclasses.replace(TINY, augmentation=None)
    cooler = dataclasses.replace(plain, temperature=2.0)
    one, other = (
        fit(recipe, digits.train, None, tmp_path / str(recipe.temperature), seed=0).network
        for recipe in (plain, cooler)
    )
    expected = tempered(np.asarray(one(images, training=False)), 2.0)
    assert np.asarray(other(images, training=False)) == pytest.approx(expected, abs=1e-4)
    # Fine-tuning at a learning rate of 0 gives it back as it was: the temperature is neither lost nor applied twice.
    still = Optimiser("SGD", learning_rate=0.0)
    again = [
        fit(
            dataclasses.replace(recipe, optimiser=still, epochs=1),
            digits.train[:32],
            None,
            tmp_path / f"on {recipe.temperature}",
            seed=0,
            weights=network.get_weights(),
        ).network
        for recipe, network in ((plain, one), (cooler, other))
    ]
    for before, after in zip((one, other), again, strict=True):
        assert np.asarray(after.get_weights()[-2]) == pytest.approx(np.asarray(before.get_weights()[-2]), abs=1e-6)


def test_the_quick_recipe_is_small_and_learns(digits: Digits, tmp_path: Path) -> None:
    """Six steps on 500 drawn digits, as many epochs as on the real ones; chance would be a tenth."""
    recipe = recipes.find("quick")
    trained = fit(recipe, digits.held_out()[0], None, tmp_path, seed=0)
    assert trained.network.count_params() == 49_690
    assert [row["epoch"] for row in trained.history] == [1, 2, 3]
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]


def test_synthetic_pictures_are_made_anew_after_some_epochs(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.fit import EPOCHS_PER_SYNTHESIS
    from training.synthetic import digits as synthetic

    drawn: list[bytes] = []
    draw = synthetic.make

    def watched(count: int, seed: Any) -> data.Split:
        found = draw(count, seed)
        drawn.append(found.images.tobytes())
        return found

    monkeypatch.setattr(synthetic, "make", watched)
    recipe = dataclasses.replace(TINY, epochs=EPOCHS_PER_SYNTHESIS + 1, synthetic_share=0.1, augmentation=None)
    whole = fit(recipe, digits.train, None, tmp_path / "whole", seed=0)
    assert len(set(drawn)) == len(drawn) == 2
    fit(recipe, digits.train, None, tmp_path / "parts", seed=0, stop_after=EPOCHS_PER_SYNTHESIS)
    assert same(fit(recipe, digits.train, None, tmp_path / "parts", seed=0), whole)
