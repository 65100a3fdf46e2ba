"""When the network is too unsure of a digit, and in which way."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Doubt = Literal["no_digit", "unsure"]

# Where the two most probable digits have this much of the probability between them, the picture shows a digit that is
# one or the other. Where they have less, nothing was recognised: networks learn to answer what is no digit with even
# probabilities.
TWO_READINGS = 0.7


def doubt(probabilities: NDArray[np.float32], threshold: float | None) -> Doubt | None:
    """What speaks against the most probable digit, float32 (10,); None where it has ``threshold`` or more.

    threshold: the version's own; None declines nothing.
    """
    if threshold is None or probabilities.max() >= threshold:  # both as float32, as the reply has them
        return None
    return "unsure" if probabilities[list(likeliest(probabilities))].sum() >= TWO_READINGS else "no_digit"


def likeliest(probabilities: NDArray[np.float32]) -> tuple[int, int]:
    """The two most probable digits, the most probable one first."""
    second, first = np.argsort(probabilities)[-2:].tolist()
    return first, second
