"""Parses what both client dialects have in common: JSON with NaN, arrays of numbers, pictures in base64."""

import base64
import binascii
import codecs
import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from app.api.uploads import File
from app.errors import MalformedBody
from app.vision.image_ops import SIDE, UInt8Image

PIXELS = SIDE * SIDE

# Shapes of one image.
SHAPES = ((SIDE, SIDE), (SIDE, SIDE, 1), (1, SIDE, SIDE), (PIXELS,))
SHAPES_TEXT = f"[{SIDE}, {SIDE}], [{SIDE}, {SIDE}, 1], [1, {SIDE}, {SIDE}] or [{PIXELS}]"

MAX_DIMENSIONS = 4  # of an array of images

# Arithmetic on values from 0 to 1 may exceed that range by this much.
ROUNDING_ERROR = 1e-5


def parse_json(body: bytes) -> dict[str, Any]:
    """Parse the JSON object of a body. NaN and Infinity are allowed.

    Raises:
        MalformedBody: The body is not a JSON object.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            value = json.loads(body)  # the standard library takes NaN and Infinity
        except (ValueError, RecursionError):
            raise MalformedBody(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MalformedBody("the body is not a JSON object")
    return value


def numbers(value: Any, what: str) -> NDArray[Any]:
    """Convert nested lists of JSON numbers to an array: int64 if all are integers, else float64.

    Args:
        value: The parsed JSON.
        what: Its name for error messages.

    Raises:
        MalformedBody: The lists differ in length or depth, or something in them is no number.
    """
    # numpy would convert strings and booleans, and allocate the length of the longest string for every element.
    shape, items = list[int](), [value]
    while (types := set(map(type, items))) == {list} and len(shape) <= MAX_DIMENSIONS:
        if len(set(map(len, items))) > 1:
            raise MalformedBody(f"{what} is no array of numbers: its lists differ in length")
        shape.append(len(items[0]))
        items = list(itertools.chain.from_iterable(items))
    if not types <= {int, float}:
        raise MalformedBody(f"{what} is no array of numbers; send lists of numbers alone, one for each dimension")
    try:
        return np.array(items, np.int64 if types == {int} else np.float64).reshape(shape)
    except OverflowError:
        raise MalformedBody(f"{what} has a number that is too large; expected at most 255") from None


def from_levels(values: NDArray[Any], what: str) -> UInt8Image:
    """Convert integers from 0 (background) to 255 (foreground) to images.

    Args:
        values: One or more images of any integer type, in any of their shapes.
        what: Their name for error messages.

    Returns:
        uint8 (n, 28, 28).

    Raises:
        MalformedBody: A value is out of range, or all are 0 or 1.
    """
    least, most = int(values.min()), int(values.max())
    if least < 0 or most > 255:
        raise MalformedBody(f"{what} has {least if least < 0 else most}; expected 0 (background) to 255 (foreground)")
    if most == 1:
        raise MalformedBody(
            f"{what} has integers from 0 to 1; expected 0 (background) to 255 (foreground), so multiply by 255"
        )
    levels: UInt8Image = values.astype(np.uint8, copy=False).reshape(-1, SIDE, SIDE)
    return levels


def from_fractions(values: NDArray[Any], what: str) -> UInt8Image:
    """Convert numbers from 0 (background) to 1 (foreground) to images.

    They are multiplied by 255 and rounded, as the network reads integers: n / 255 becomes n again.

    Args:
        values: One or more images of any number type, in any of their shapes.
        what: Their name for error messages.

    Returns:
        uint8 (n, 28, 28).

    Raises:
        MalformedBody: A value is out of range, or no number.
    """
    least, most = float(values.min()), float(values.max())
    if not (least >= -ROUNDING_ERROR and most <= 1 + ROUNDING_ERROR):  # NaN is neither
        found = least if least < 0 or math.isnan(least) else most
        advice = ", so divide by 255" if 1 < most <= 255 and least >= 0 else ""
        raise MalformedBody(f"{what} has {found:g}; expected 0 (background) to 1 (foreground){advice}")
    levels: UInt8Image = np.rint(values * 255).astype(np.uint8).reshape(-1, SIDE, SIDE)
    return levels


def is_image_shape(shape: Sequence[int]) -> bool:
    """Return whether an array of this shape is one image."""
    return tuple(shape) in SHAPES


def from_base64(text: Any, what: str) -> File:
    """Decode a picture file in base64.

    Raises:
        MalformedBody: The value is not a string in base64.
    """
    if not isinstance(text, str):
        raise MalformedBody(f"{what} must be a string with a picture in base64")
    try:
        return File(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError):
        raise MalformedBody(f"{what} is not base64") from None
