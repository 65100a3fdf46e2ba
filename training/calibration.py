"""Temperature scaling, and the confidence below which the service rejects an answer."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.metrics import log_loss

# The share of the images that should be accepted.
TARGET_COVERAGE = 0.995

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.3, 3.0

_SMALLEST = 1e-12  # a probability of 0 would make the NLL infinite


@dataclass(frozen=True)
class Calibration:
    """What was chosen on images that were not learned.

    Attributes:
        temperature: by which the logits are to be divided.
        threshold: the lowest confidence that is to be accepted.
        accepted: the share of the images that the threshold accepts.
        nll: mean, before and after the temperature.
    """

    temperature: float
    threshold: float
    accepted: float
    nll: tuple[float, float]


def calibrate(probabilities: NDArray[np.float32], labels: NDArray[np.uint8]) -> Calibration:
    """Choose the temperature of least NLL (Guo et al., 2017), and the threshold that then accepts TARGET_COVERAGE.

    Args:
        probabilities: (n, 10), of the network as it was served.
        labels: (n,).
    """
    found = minimize_scalar(
        lambda temperature: nll(tempered(probabilities, temperature), labels),
        bounds=(MIN_TEMPERATURE, MAX_TEMPERATURE),
        method="bounded",
    )
    best = round(float(found.x), 2)
    after = tempered(probabilities, best)
    confidence = after.max(axis=1)
    threshold = math.floor(100 * float(np.quantile(confidence, 1 - TARGET_COVERAGE, method="lower"))) / 100
    accepted = float((confidence >= threshold).mean())
    return Calibration(best, threshold, accepted, (nll(probabilities, labels), nll(after, labels)))


def tempered(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    """The probabilities, (n, 10), that the same logits give divided by the temperature."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-30))
    return np.asarray(softmax(logits / temperature, axis=1))


def normalised(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Probabilities in float64 that sum to one to its last digits, as scikit-learn expects them; none is 0."""
    values = np.maximum(probabilities.astype(np.float64), _SMALLEST)
    return np.asarray(values / values.sum(axis=1, keepdims=True))


def nll(probabilities: NDArray[np.floating], labels: NDArray[np.uint8]) -> float:
    """Mean negative logarithm of the probability given to the true label."""
    return float(log_loss(labels, normalised(probabilities), labels=range(10)))
