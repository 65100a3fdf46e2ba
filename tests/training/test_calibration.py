"""The temperature and the threshold, on probabilities whose scores are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.calibration import ACCEPTED, calibrate, nll, tempered


def honest(count: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Probabilities that are just right, with the labels drawn by them."""
    random = np.random.default_rng(1)
    scores = random.normal(0, 4, (count, 10))
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) > random.random((count, 1))).argmax(axis=1)
    return probabilities.astype(np.float32), labels.astype(np.uint8)


@pytest.mark.parametrize("wrong_by", [0.5, 1.0, 2.0])
def test_it_finds_by_how_much_a_network_is_too_sure(wrong_by: float) -> None:
    probabilities, labels = honest(5_000)
    found = calibrate(tempered(probabilities, 1 / wrong_by).astype(np.float32), labels)
    assert found.temperature == pytest.approx(wrong_by, rel=0.08)
    assert found.nll[1] <= found.nll[0]
    assert found.nll[1] == pytest.approx(nll(probabilities, labels), rel=0.02)


@pytest.mark.parametrize("sharper", [1.0, 1.3, 1.6])
def test_the_threshold_accepts_the_share_that_it_should(sharper: float) -> None:
    probabilities, labels = honest(5_000)
    found = calibrate(tempered(probabilities, 1 / sharper).astype(np.float32), labels)
    assert ACCEPTED <= found.accepted <= ACCEPTED + 0.002


def test_a_temperature_changes_no_answer() -> None:
    probabilities, _ = honest(1000)
    for temperature in (0.5, 3):
        changed = tempered(probabilities, temperature)
        assert (changed.argmax(axis=1) == probabilities.argmax(axis=1)).all()
        assert changed.sum(axis=1) == pytest.approx(np.ones(1000))
