"""The small network that goes before."""

from pathlib import Path

import numpy as np
import pytest

from app.inference.engine import Engine, Graph, Images, OpenVinoEngine, Probabilities
from app.inference.live import engine
from app.inference.scouted import Scouted
from tests import versions as made
from tests.conftest import SHIPPED
from tests.samples import handwritten
from training import versions
from training.versions import FIRST_OUTPUT, SCOUT_OUTPUT


class Says(Engine):
    """Says a digit, as sure of an image as its first pixel has it; and which images it was asked about."""

    def __init__(self, digit: int) -> None:
        self.digit = digit
        self.asked: list[int] = []

    def predict(self, images: Images) -> Probabilities:
        sure = images[:, 0, 0].astype(np.float32) / 255
        self.asked += images[:, 0, 1].tolist()
        answer = np.repeat((1 - sure[:, None]) / 9, 10, axis=1)
        answer[:, self.digit] = sure
        return answer


def images_of(*sure: float) -> Images:
    images = np.zeros((len(sure), 28, 28), np.uint8)
    images[:, 0, 0] = np.array(sure) * 255
    images[:, 0, 1] = np.arange(len(sure))
    return images


@pytest.mark.parametrize("sure", [(0.99, 0.5, 1, 0.97), (0.5, 0.6), (1, 1), (0.2,), (1,)])
def test_only_what_the_scout_is_unsure_of_is_asked_of_the_network(sure: tuple[float, ...]) -> None:
    scout, network = Says(1), Says(2)
    answers = Scouted(scout, network, 0.98).predict(images_of(*sure))
    unsure = [place for place, confidence in enumerate(sure) if confidence < 0.98]
    assert scout.asked == list(range(len(sure)))
    assert network.asked == unsure
    for place, answer in enumerate(answers):
        assert answer.argmax() == (2 if place in unsure and sure[place] > 0.5 else answer.argmax())
        assert answer[2 if place in unsure else 1] == pytest.approx(sure[place], abs=0.01)


def test_a_version_says_how_sure_its_scout_must_be(tmp_path: Path) -> None:
    models = made.shipped(tmp_path / "models")
    folder = models / str(versions.current(models))
    random = np.random.default_rng(0)
    images = np.stack([handwritten(digit % 10, random) for digit in range(16)])
    graph = Graph(versions.verify(folder))
    scout, first = (OpenVinoEngine(graph, 1, output=output).predict(images) for output in (SCOUT_OUTPUT, FIRST_OUTPUT))
    answers = []
    for sure in (0.0, 1.01, None):
        made.describe(folder, sure=sure, second_look=0.0)
        answers.append(engine(Graph(versions.verify(folder)), threads=1).predict(images))
    assert np.array_equal(answers[0], scout)
    assert np.array_equal(answers[1], first)
    assert np.array_equal(answers[2], first)
    assert np.abs(scout - first).max() > 1e-4


def test_what_ships_asks_a_scout_that_agrees() -> None:
    version = versions.verify(SHIPPED / str(versions.current(SHIPPED)))
    graph = Graph(version)
    random = np.random.default_rng(1)
    images = np.stack([handwritten(digit % 10, random) for digit in range(300)])
    scout, first = (OpenVinoEngine(graph, 1, output=output).predict(images) for output in (SCOUT_OUTPUT, FIRST_OUTPUT))
    assert version.card.sure is not None
    sure = scout.max(axis=1) >= version.card.sure
    assert sure.mean() > 0.5
    assert np.array_equal(scout[sure].argmax(axis=1), first[sure].argmax(axis=1))
