"""Pictures that are answered, but not accepted as one digit: why, and what their sender is told to do."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from app.errors import BlankImage, ImageError, MalformedParameter, NoDigit, SeveralDigits, Unsure
from app.inference.confidence import doubts, likeliest
from app.vision.digit import BLANK
from app.vision.read import Doubt

Reason = Literal["blank", "no_digit", "several_digits", "unsure"]

_STRICT = {"true": True, "1": True, "false": False, "0": False}


def is_strict(request: Request) -> bool:
    """Whether the query asks for an error in place of an answer that is not accepted. Raises MalformedParameter."""
    if not request.scope["query_string"]:  # as nearly always; to take it apart costs as much as to read some pictures
        return False
    said = request.query_params.get("strict", "false")
    try:
        return _STRICT[said.lower()]
    except KeyError:
        raise MalformedParameter(f"strict is {said!r:.40}; send strict=true or strict=false, or leave it out") from None


def reasons(
    seen: Sequence[Doubt | None], probabilities: NDArray[np.float32], threshold: float | None
) -> list[Reason | None]:
    """Why the answers to pictures, float32 (n, 10), are not accepted; None where one is.

    seen: what speaks against each picture itself, which comes first. threshold: the version's own.
    """
    return [at_sight or doubt for at_sight, doubt in zip(seen, doubts(probabilities, threshold), strict=True)]


def error(reason: Reason, probabilities: NDArray[np.float32]) -> ImageError:
    """What a declined picture is in strict calls, with what to do about it."""
    if reason == "blank":
        return BlankImage(BLANK)
    if reason == "several_digits":
        return SeveralDigits("there are several digits on the image; cut them apart and send one at a time")
    if reason == "no_digit":
        return NoDigit("no digit was recognised on the image; send one with a single digit, large and whole")
    first, second = likeliest(probabilities)
    shares = f"{probabilities[first]:.0%} and {probabilities[second]:.0%}"
    return Unsure(f"it could be a {first} or a {second} ({shares}); send a clearer picture of it")
