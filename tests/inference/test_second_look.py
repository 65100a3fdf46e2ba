"""What the network is unsure of is looked at again."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.inference.engine import Engine, Graph, Images, OpenVinoEngine, Probabilities
from app.inference.live import engine
from app.inference.second_look import HOPELESS, SHARPER, VIEWS, SecondLook, together, views
from tests import versions as made
from tests.conftest import SHIPPED
from tests.samples import handwritten
from training import versions


def doubtful(count: int) -> Images:
    """Digits one upon the other."""
    random = np.random.default_rng(3)
    pairs = random.integers(0, 10, (count, 2))
    return np.stack([np.maximum(*(handwritten(int(digit), random) for digit in pair)) for pair in pairs])


class Counting(Engine):
    """The shipped network, and how many images it was asked about."""

    def __init__(self) -> None:
        self.engine = OpenVinoEngine(Graph(versions.verify(SHIPPED / str(versions.current(SHIPPED)))), threads=1)
        self.images = 0

    def predict(self, images: Images) -> Probabilities:
        self.images += len(images)
        return self.engine.predict(images)


@pytest.fixture
def first() -> Counting:
    return Counting()


@pytest.fixture
def other() -> Counting:
    return Counting()


def test_what_it_is_sure_of_is_looked_at_once(first: Counting, other: Counting) -> None:
    random = np.random.default_rng(0)
    images = np.stack([handwritten(digit, random) for digit in range(10)])
    sure = images[first.engine.predict(images).max(axis=1) > 0.95]
    assert len(sure) >= 8
    assert np.allclose(SecondLook(first, other, 0.9).predict(sure), first.engine.predict(sure), atol=1e-6)
    assert first.images == len(sure)
    assert not other.images


def test_what_it_is_unsure_of_is_answered_by_all_views_together(first: Counting, other: Counting) -> None:
    noise = np.random.default_rng(4).integers(0, 256, (6, 28, 28), np.uint8)
    images = np.concatenate([doubtful(30), noise, doubtful(60)[30:]])
    alone = first.engine.predict(images)
    confidence = alone.max(axis=1)
    unsure = (confidence < 0.9) & (confidence >= HOPELESS)
    assert min((confidence >= 0.9).sum(), (confidence < HOPELESS).sum(), unsure.sum()) >= 3  # all kinds, in turns
    found = SecondLook(first, other, 0.9).predict(images)
    assert other.images == VIEWS * unsure.sum()
    assert np.allclose(found[~unsure], alone[~unsure], atol=1e-6)
    for number in np.flatnonzero(unsure):
        scores = SHARPER * np.log(other.engine.predict(views(images[number]))).mean(axis=0)
        assert np.allclose(found[number], np.exp(scores) / np.exp(scores).sum(), atol=1e-5)


def test_probabilities_stay_probabilities(first: Counting, other: Counting) -> None:
    found = SecondLook(first, other, 0.9).predict(doubtful(20))
    assert found.dtype == np.float32
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-5)
    certain = np.zeros((3, 10), np.float32)
    certain[0, 1] = certain[1:, 7] = 1
    assert together(certain).argmax() == 7  # none of them is without a logarithm


def test_the_views_are_turned_about_the_middle_and_moved_by_a_pixel() -> None:
    image: NDArray[np.uint8] = np.zeros((28, 28), np.uint8)
    image[4:24, 13:15] = 255
    same, right, left, *moved = views(image)
    assert np.array_equal(same, image)
    assert left[:14].any(axis=0).argmax() < 12 < 14 < 27 - right[:14].any(axis=0)[::-1].argmax()
    assert np.array_equal(left[:, ::-1], right)
    for view, (down, across) in zip(moved, ((0, 1), (0, -1), (1, 0), (-1, 0)), strict=True):
        assert np.array_equal(view, np.roll(image, (down, across), (0, 1)))
    assert not views(np.full((28, 28), 255, np.uint8))[3][:, 0].any()  # what was beyond the edge is ground


def test_a_version_says_whether_it_looks_again(tmp_path: Path) -> None:
    models = made.shipped(tmp_path / "models")
    folder = models / str(versions.current(models))
    images = doubtful(20)
    answers = []
    for sure in (None, 0.85):
        made.describe(folder, second_look=sure, sure=None)
        answers.append(engine(Graph(versions.verify(folder)), threads=1).predict(images))
    whole = OpenVinoEngine(Graph(versions.verify(folder)), threads=1)
    first = OpenVinoEngine(Graph(versions.verify(folder)), threads=1, output=versions.FIRST_OUTPUT)
    assert np.allclose(answers[0], whole.predict(images), atol=1e-6)
    assert np.allclose(answers[1], SecondLook(first, whole, 0.85).predict(images), atol=1e-6)
    assert np.abs(answers[0] - answers[1]).max() > 0.1
