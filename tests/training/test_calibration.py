"""The temperature and the threshold, on probabilities whose logits are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.calibration import TARGET_COVERAGE, calibrate, nll, tempered


def calibrated(count: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Calibrated probabilities, with labels drawn by them."""
    random = np.random.default_rng(1)
    scores = random.normal(0, 4, (count, 10))
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) > random.random((count, 1))).argmax(axis=1)
    return probabilities.astype(np.float32), labels.astype(np.uint8)


def test_it_finds_the_temperature_and_the_threshold() -> None:
    probabilities, labels = calibrated(5_000)
    for temperature in (0.5, 1.0, 1.6):
        found = calibrate(tempered(probabilities, 1 / temperature).astype(np.float32), labels)
        assert found.temperature == pytest.approx(temperature, rel=0.08)
        assert found.nll[1] <= found.nll[0]
        assert found.nll[1] == pytest.approx(nll(probabilities, labels), rel=0.02)
        assert TARGET_COVERAGE <= found.accepted <= TARGET_COVERAGE + 0.002


def test_a_temperature_changes_no_answer() -> None:
    probabilities, _ = calibrated(1000)
    for temperature in (0.5, 3):
        changed = tempered(probabilities, temperature)
        assert (changed.argmax(axis=1) == probabilities.argmax(axis=1)).all()
        assert changed.sum(axis=1) == pytest.approx(np.ones(1000))
