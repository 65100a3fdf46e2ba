"""Probabilities that mean what they say, and the confidence below which the service declines."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The share of the images that is to be accepted.
ACCEPTED = 0.995

TEMPERATURES = np.arange(30, 301) / 100


@dataclass(frozen=True)
class Calibration:
    """What was chosen on images that were not learned.

    accepted: share of them that the threshold accepts. nll: mean, before and after the temperature.
    """

    temperature: float
    threshold: float
    accepted: float
    nll: tuple[float, float]


def calibrate(probabilities: NDArray[np.float32], labels: NDArray[np.uint8]) -> Calibration:
    """The temperature of least NLL (Guo et al., 2017), and the threshold that then accepts the share ACCEPTED.

    probabilities: (n, 10), of the network as it was served. labels: (n,).
    """
    losses = [nll(tempered(probabilities, temperature), labels) for temperature in TEMPERATURES]
    best = float(TEMPERATURES[int(np.argmin(losses))])
    after = tempered(probabilities, best)
    confidence = after.max(axis=1)
    threshold = math.floor(100 * float(np.quantile(confidence, 1 - ACCEPTED, method="lower"))) / 100
    accepted = float((confidence >= threshold).mean())
    return Calibration(best, threshold, accepted, (nll(probabilities, labels), nll(after, labels)))


def tempered(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """The probabilities, (n, 10), that the same scores give divided by the temperature."""
    scores = np.log(np.maximum(probabilities.astype(np.float64), 1e-30)) / temperature
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = scores / scores.sum(axis=1, keepdims=True)
    return result


def nll(probabilities: NDArray[np.floating], labels: NDArray[np.uint8]) -> float:
    """Mean negative logarithm of the probability given to the true label."""
    given = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(given, 1e-12)).mean())
