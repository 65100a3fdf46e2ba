"""When the network is too unsure of a digit, and in which way."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Doubt = Literal["no_digit", "unsure"]

# Where the two most probable digits have this much of the probability between them, the picture shows a digit that is
# one or the other. Where they have less, nothing was recognised: networks learn to answer what is no digit with even
# probabilities.
TWO_READINGS = 0.7


def doubts(probabilities: NDArray[np.float32], threshold: float | None) -> list[Doubt | None]:
    """What speaks against the most probable digit of each row, float32 (n, 10); None where nothing does.

    threshold: from which probability on nothing does, the version's own; None declines nothing.
    """
    found: list[Doubt | None] = [None] * len(probabilities)
    if threshold is not None:
        # Both as float32, as the reply has them; and no number is not enough.
        for place in np.flatnonzero(~(probabilities.max(axis=1) >= threshold)):
            found[place] = _doubt(probabilities[place])
    return found


def _doubt(probabilities: NDArray[np.float32]) -> Doubt:
    return "unsure" if probabilities[list(likeliest(probabilities))].sum() >= TWO_READINGS else "no_digit"


def likeliest(probabilities: NDArray[np.float32]) -> tuple[int, int]:
    """The two most probable digits, the most probable one first."""
    second, first = np.argsort(probabilities)[-2:].tolist()
    return first, second
