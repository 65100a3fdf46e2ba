"""The networks of a version as a cascade, and test-time augmentation."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.errors import ModelError
from app.inference.engine import Graph, Images, OpenVinoEngine, Probabilities
from app.inference.ensemble import (
    LARGE_BATCH_SIZES,
    LOGIT_SCALE,
    MIN_TTA_CONFIDENCE,
    VIEWS,
    Cascade,
    Stage,
    augmented,
    geometric_mean,
    load_cascade,
    load_version,
    views,
)
from app.registry import store
from app.registry.store import FIRST_NETWORK_OUTPUT, FIRST_STAGE_OUTPUT
from tests.support import versions as made
from tests.support.images import handwritten
from tests.support.versions import SHIPPED


class Constant:
    """Answers one digit, with the first pixel of an image as its confidence, and remembers the images of each run."""

    def __init__(self, digit: int) -> None:
        self.digit = digit
        self.runs: list[list[int]] = []

    @property
    def asked(self) -> list[int]:
        return [place for run in self.runs for place in run]

    def predict(self, images: Images) -> Probabilities:
        confidence = images[:, 0, 0].astype(np.float32) / 255
        self.runs.append(images[:, 0, 1].tolist())
        rows = np.repeat((1 - confidence[:, None]) / 9, 10, axis=1).astype(np.float32)
        rows[:, self.digit] = confidence
        return rows


class Counting:
    """The shipped ensemble, and the sizes of its batches."""

    def __init__(self, engine: OpenVinoEngine) -> None:
        self.engine = engine
        self.sizes: list[int] = []

    def predict(self, images: Images) -> Probabilities:
        self.sizes.append(len(images))
        return self.engine.predict(images)


def images_of(*confidence: float) -> Images:
    images = np.zeros((len(confidence), 28, 28), np.uint8)
    images[:, 0, 0] = np.array(confidence) * 255
    images[:, 0, 1] = np.arange(len(confidence))
    return images


def digits(count: int, seed: int) -> Images:
    random = np.random.default_rng(seed)
    return np.stack([handwritten(number % 10, random) for number in range(count)])


def ambiguous(count: int) -> Images:
    """Digits drawn over each other."""
    random = np.random.default_rng(3)
    pairs = random.integers(0, 10, (count, 2))
    return np.stack([np.maximum(*(handwritten(int(digit), random) for digit in pair)) for pair in pairs])


@pytest.fixture(scope="module")
def graph() -> Graph:
    return Graph(store.verify(SHIPPED / str(store.current(SHIPPED))))


@pytest.fixture(scope="module")
def whole(graph: Graph) -> OpenVinoEngine:
    return OpenVinoEngine(graph, threads=1)


@pytest.mark.parametrize("confidence", [(0.99, 0.5, 1, 0.97), (0.5, 0.6), (1, 1), (0.2,), (1,)])
def test_only_undecided_images_go_to_the_next_stage(confidence: tuple[float, ...]) -> None:
    first, second = Constant(1), Constant(2)
    cascade = Cascade((Stage(first.predict, 16, 0.98), Stage(second.predict, 16)), is_fast=True)
    rows = cascade.predict(images_of(*confidence))
    undecided = [place for place, value in enumerate(confidence) if value < 0.98]
    assert first.asked == list(range(len(confidence)))
    assert second.asked == undecided
    for place, row in enumerate(rows):
        assert row[2 if place in undecided else 1] == pytest.approx(confidence[place], abs=0.01)


def test_each_stage_runs_in_batches_of_its_size() -> None:
    networks = [Constant(digit) for digit in range(3)]
    limits = ((4, 0.9), (2, 0.7), (1, 0.0))
    stages = (Stage(network.predict, size, least) for network, (size, least) in zip(networks, limits, strict=True))
    confidence = (0.95, 0.8, 0.6, 0.6, 0.8, 0.95, 0.6)
    rows = Cascade(tuple(stages), is_fast=True).predict(images_of(*confidence))
    assert [network.runs for network in networks] == [
        [[0, 1, 2, 3], [4, 5, 6]],
        [[1, 2], [3, 4], [6]],
        [[2], [3], [6]],
    ]
    assert rows.dtype == np.float32
    assert rows.argmax(axis=1).tolist() == [0, 1, 2, 2, 1, 0, 2]


def test_an_answer_stands_at_the_threshold_and_below_the_least_confidence() -> None:
    stage = Stage(Constant(1).predict, 16, threshold=0.75, min_confidence=0.25)
    confidence = np.array([1, 0.75, 0.74, 0.5, 0.25, 0.24, 0.1], np.float32)
    assert stage.undecided(np.stack([confidence, np.zeros(7, np.float32)], axis=1)) == [2, 3, 4]
    assert stage.undecided(np.array([[0.1, 0.2], [0.8, 0.2]], np.float32)) == []
    last = Stage(Constant(1).predict, 16)
    assert last.undecided(np.zeros((2, 10), np.float32)) == []


def test_a_manifest_says_how_confident_the_first_stage_must_be(tmp_path: Path, graph: Graph) -> None:
    models = made.shipped(tmp_path / "models")
    folder = models / str(store.current(models))
    images = digits(16, 0)
    small, network = (
        OpenVinoEngine(graph, 1, output=output).predict(images) for output in (FIRST_STAGE_OUTPUT, FIRST_NETWORK_OUTPUT)
    )
    answers = []
    for sure in (0.0, 1.01, None):
        made.describe(folder, cascade_threshold=sure, tta_threshold=0.0)
        _, cascade = load_version(folder, threads=1)
        assert cascade.is_fast == (sure is not None)
        assert cascade.stages[0].max_batch_size == (16 if sure is None else max(LARGE_BATCH_SIZES))
        answers.append(cascade.predict(images))
    assert np.array_equal(answers[0], small)
    assert np.array_equal(answers[1], network)
    assert np.array_equal(answers[2], network)
    assert np.abs(small - network).max() > 1e-4


def test_the_shipped_first_stage_decides_most_digits_as_the_network_would(graph: Graph) -> None:
    images = digits(300, 1)
    small, network = (
        OpenVinoEngine(graph, 1, output=output).predict(images) for output in (FIRST_STAGE_OUTPUT, FIRST_NETWORK_OUTPUT)
    )
    assert graph.manifest.cascade_threshold is not None
    decided = small.max(axis=1) >= graph.manifest.cascade_threshold
    assert decided.mean() > 0.5
    assert np.array_equal(small[decided].argmax(axis=1), network[decided].argmax(axis=1))


def test_the_shipped_version_has_three_stages(graph: Graph) -> None:
    cascade = load_cascade(graph, threads=1)
    manifest = graph.manifest
    assert cascade.is_fast
    assert [stage.threshold for stage in cascade.stages] == [manifest.cascade_threshold, manifest.tta_threshold, 0.0]
    assert [stage.min_confidence for stage in cascade.stages] == [0.0, MIN_TTA_CONFIDENCE, 0.0]


def test_a_manifest_says_whether_there_is_test_time_augmentation(tmp_path: Path, whole: OpenVinoEngine) -> None:
    models = made.shipped(tmp_path / "models")
    folder = models / str(store.current(models))
    images = ambiguous(20)
    answers = []
    for threshold in (None, 0.85):
        made.describe(folder, tta_threshold=threshold, cascade_threshold=None)
        manifest, cascade = load_version(folder, threads=1)
        assert manifest.tta_threshold == threshold
        answers.append(cascade.predict(images))
    first = OpenVinoEngine(Graph(store.verify(folder)), threads=1, output=FIRST_NETWORK_OUTPUT)
    confidence = first.predict(images).max(axis=1)
    undecided = (confidence < 0.85) & (confidence >= MIN_TTA_CONFIDENCE)
    assert 0 < undecided.sum() < 20
    assert np.allclose(answers[0], whole.predict(images), atol=1e-6)
    assert np.allclose(answers[1][~undecided], first.predict(images[~undecided]), atol=1e-6)
    assert np.allclose(answers[1][undecided], augmented(whole.predict, images[undecided]), atol=1e-6)
    assert np.abs(answers[0] - answers[1]).max() > 0.1


def test_a_version_that_is_not_sound_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    models = made.shipped(tmp_path / "models")
    folder = models / str(store.current(models))
    (folder / store.WEIGHTS).write_bytes(b"")
    with pytest.raises(ModelError, match=rf"{store.WEIGHTS}: "):
        load_version(folder, threads=1)


def test_decided_images_are_not_augmented(whole: OpenVinoEngine) -> None:
    images = digits(10, 0)
    decided = images[whole.predict(images).max(axis=1) > 0.95]
    assert len(decided) >= 8
    first, ensemble = Counting(whole), Counting(whole)
    found = with_augmentation(first, ensemble).predict(decided)
    assert np.allclose(found, whole.predict(decided), atol=1e-6)
    assert sum(first.sizes) == len(decided)
    assert not ensemble.sizes


def test_undecided_images_are_answered_by_all_their_views(whole: OpenVinoEngine) -> None:
    noise = np.random.default_rng(4).integers(0, 256, (6, 28, 28), np.uint8)
    images = np.concatenate([ambiguous(30), noise, ambiguous(60)[30:]])
    alone = whole.predict(images)
    confidence = alone.max(axis=1)
    hopeless = confidence < MIN_TTA_CONFIDENCE
    undecided = (confidence < 0.9) & ~hopeless
    assert min((confidence >= 0.9).sum(), hopeless.sum(), undecided.sum()) >= 3
    ensemble = Counting(whole)
    found = with_augmentation(Counting(whole), ensemble).predict(images)
    assert ensemble.sizes == [VIEWS] * undecided.sum()
    assert np.allclose(found[~undecided], alone[~undecided], atol=1e-6)
    for number in np.flatnonzero(undecided):
        logits = LOGIT_SCALE * np.log(whole.predict(views(images[number]))).mean(axis=0)
        assert np.allclose(found[number], np.exp(logits) / np.exp(logits).sum(), atol=1e-5)


def test_the_augmented_answer_is_made_of_probabilities(whole: OpenVinoEngine) -> None:
    found = augmented(whole.predict, ambiguous(20))
    assert found.shape == (20, 10)
    assert found.dtype == np.float32
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_the_mean_of_certain_views_is_the_digit_of_most() -> None:
    certain = np.zeros((3, 10), np.float32)
    certain[0, 1] = certain[1:, 7] = 1
    mean = geometric_mean(certain)
    assert mean.argmax() == 7
    assert mean.sum() == pytest.approx(1, abs=1e-6)


def test_the_views_are_turned_about_the_middle_and_moved_by_a_pixel() -> None:
    image: NDArray[np.uint8] = np.zeros((28, 28), np.uint8)
    image[4:24, 13:15] = 255
    same, right, left, *moved = views(image)
    assert np.array_equal(same, image)
    assert left[:14].any(axis=0).argmax() < 12 < 14 < 27 - right[:14].any(axis=0)[::-1].argmax()
    assert np.array_equal(left[:, ::-1], right)
    for view, (down, across) in zip(moved, ((0, 1), (0, -1), (1, 0), (-1, 0)), strict=True):
        assert np.array_equal(view, np.roll(image, (down, across), (0, 1)))
    assert not views(np.full((28, 28), 255, np.uint8))[3][:, 0].any()  # background comes in at the edge


def with_augmentation(first: Counting, ensemble: Counting) -> Cascade:
    """A network whose answer stands from 0.9 on, with test-time augmentation after it."""
    network = Stage(first.predict, OpenVinoEngine.MAX_BATCH_SIZE, 0.9, MIN_TTA_CONFIDENCE)
    return Cascade((network, Stage(lambda images: augmented(ensemble.predict, images), 1)), is_fast=False)
