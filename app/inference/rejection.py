"""Decides whether an answer is accepted, and gives advice for each reason to reject it."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.errors import ImageError

# If the two most probable digits have at least this probability together, a rejected picture shows one or the other.
# With less, no digit was recognised: networks learn to give even probabilities for what is not a digit.
TWO_DIGITS_PROBABILITY = 0.7


class RejectionReason(StrEnum):
    """Why an answer is not accepted. Preprocessing finds the first two, the network's confidence the others."""

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
    """An answer that is not accepted, if the caller asked for an error in that case.

    Attributes:
        reason: Why the answer is not accepted.
    """

    def __init__(self, reason: RejectionReason, probabilities: NDArray[np.float32] | None = None) -> None:
        """Choose the text.

        Args:
            reason: Why the answer is not accepted.
            probabilities: float32 (10,). If the network is unsure, the text names the two most probable digits.
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
        For each row the reason, or None if the answer is accepted.
    """
    reasons: list[RejectionReason | None] = [None] * len(probabilities)
    if threshold is not None:
        # Compared as float32, like the confidence in the reply. NaN is rejected, too.
        for index in np.flatnonzero(~(probabilities.max(axis=1) >= threshold)):
            row = probabilities[index]
            is_unsure = row[list(two_most_probable(row))].sum() >= TWO_DIGITS_PROBABILITY
            reasons[index] = RejectionReason.UNSURE if is_unsure else RejectionReason.NO_DIGIT
    return reasons


def two_most_probable(probabilities: NDArray[np.float32]) -> tuple[int, int]:
    """Return the two most probable digits, the most probable one first."""
    second, first = np.argsort(probabilities)[-2:].tolist()
    return first, second
