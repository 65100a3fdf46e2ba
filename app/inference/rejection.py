"""Why an answer is not accepted, and what the sender of the picture is told to do."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.errors import ImageError

# Where the two most probable digits have this much of the probability between them, the picture shows a digit that is
# one or the other. Where they have less, nothing was recognised: networks learn to answer what is no digit with even
# probabilities.
TWO_DIGITS_PROBABILITY = 0.7


class RejectionReason(StrEnum):
    """Why an answer is not accepted. The first two are found on the picture, the others by the network."""

    BLANK = "blank"
    SEVERAL_DIGITS = "several_digits"
    NO_DIGIT = "no_digit"
    UNSURE = "unsure"


ADVICE = {
    RejectionReason.BLANK: "the image is blank; send one with a digit on it",
    RejectionReason.SEVERAL_DIGITS: "there are several digits on the image; cut them apart and send one at a time",
    RejectionReason.NO_DIGIT: "no digit was recognised on the image; send one with a single digit, large and whole",
    RejectionReason.UNSURE: "it could be one digit or another; send a clearer picture of it",
}


class Rejected(ImageError):
    """An answer that is not accepted, where the caller asked for an error in its place.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: RejectionReason, probabilities: NDArray[np.float32] | None = None) -> None:
        """Say what to do.

        Args:
            reason: Why the answer is not accepted.
            probabilities: float32 (10,). The text names the two digits that an unsure network hesitates between.
        """
        advice = ADVICE[reason]
        if reason is RejectionReason.UNSURE and probabilities is not None:
            first, second = two_most_probable(probabilities)
            shares = f"{probabilities[first]:.0%} and {probabilities[second]:.0%}"
            advice = f"it could be a {first} or a {second} ({shares}); send a clearer picture of it"
        super().__init__(advice)
        self.reason = reason


def reject(probabilities: NDArray[np.float32], threshold: float | None) -> list[RejectionReason | None]:
    """Compare the confidence of answers with the threshold of the version.

    Args:
        probabilities: float32 (n, 10).
        threshold: The confidence from which on an answer is accepted. None accepts all.

    Returns:
        A reason for each row, None where the answer is accepted.
    """
    reasons: list[RejectionReason | None] = [None] * len(probabilities)
    if threshold is not None:
        # Both as float32, as the reply has them. NaN is rejected, too.
        for place in np.flatnonzero(~(probabilities.max(axis=1) >= threshold)):
            row = probabilities[place]
            hesitates = row[list(two_most_probable(row))].sum() >= TWO_DIGITS_PROBABILITY
            reasons[place] = RejectionReason.UNSURE if hesitates else RejectionReason.NO_DIGIT
    return reasons


def two_most_probable(probabilities: NDArray[np.float32]) -> tuple[int, int]:
    """The two most probable digits, the most probable one first."""
    second, first = np.argsort(probabilities)[-2:].tolist()
    return first, second
