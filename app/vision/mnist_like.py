"""Images that lie as MNIST's do, so that they go to the network as they are. Works on many at once."""

from typing import Any

import numpy as np

from app.vision.brightness import MIN_CONTRAST
from app.vision.image_ops import SIDE, Mask, UInt8Image
from app.vision.normalise import BOX_SIDE

# MNIST's background is 0; a 28x28 image on a lighter one was not made like it and is preprocessed like any other.
MAX_BACKGROUND = 16

# The digits of MNIST are 20 pixels high or wide, 13 in 60,000 are 19, and their centre of mass is less than one pixel
# from the middle. What is smaller, or further off than this, was not made like them.
MAX_OFFSET = 1.5

_PLACES = np.indices((SIDE, SIDE)).reshape(2, -1)  # rows and columns of the pixels
_BORDER = np.flatnonzero(np.isin(_PLACES, (0, SIDE - 1)).any(axis=0))

# The pixels of an image times this matrix: their sum, and the sums of their rows and columns, counted from the middle.
# All are whole halves, so that float32 is exact.
_MOMENTS = np.vstack([np.ones(SIDE * SIDE), _PLACES - (SIDE - 1) / 2]).T.astype(np.float32)


def is_mnist_like(images: UInt8Image) -> Mask:
    """Tell which images hold a digit on a dark background, sized and placed as in MNIST.

    Args:
        images: uint8 (n, 28, 28).

    Returns:
        bool (n,).
    """
    return ~is_blank(images) & has_dark_border(images) & is_placed(images)


def is_blank(images: UInt8Image) -> Mask:
    """Which images show nothing: uint8 (…, height, width) to bool (…)."""
    contrast = images.max(axis=(-2, -1)) - images.min(axis=(-2, -1))  # never below 0, as uint8 needs it
    return np.asarray(contrast < MIN_CONTRAST)


def has_dark_border(images: UInt8Image) -> Mask:
    """Where more than half of the border is as dark as MNIST's background: uint8 (…, 28, 28) to bool (…)."""
    border = _flat(images)[..., _BORDER]
    return np.asarray((border <= MAX_BACKGROUND).sum(axis=-1) > len(_BORDER) // 2)


def is_placed(images: UInt8Image) -> Mask:
    """Where the foreground is as large as MNIST's and in the middle: uint8 (…, 28, 28) to bool (…).

    Also where it is larger: then there is more than a digit as MNIST has it, or one with noise around.
    """
    foreground = np.greater(images, MAX_BACKGROUND, order="C")
    moments = _flat(images).astype(np.float32) @ _MOMENTS
    in_the_middle = np.abs(moments[..., 1:]).max(axis=-1) <= MAX_OFFSET * moments[..., 0]
    height = _height(foreground)
    placed = np.asarray(in_the_middle & (height >= BOX_SIDE - 1))
    if not placed.all():  # nearly all digits are higher than wide
        side = np.maximum(height, _span(foreground.any(axis=-2)))
        placed |= (side > BOX_SIDE + 2) | ((side >= BOX_SIDE - 1) & in_the_middle)
    return placed


def _flat(images: UInt8Image) -> UInt8Image:
    return images.reshape(*images.shape[:-2], SIDE * SIDE)


def _height(foreground: Mask) -> Any:
    """Pixels from the first to the last row with foreground, bool (…, 28, 28) to int64 (…); 28 where there is none.

    Looks at four pixels at a time, seven to a row: for 64 images, a quarter of the time that
    ``_span(foreground.any(axis=-1))`` takes. The array must be contiguous.
    """
    fours = foreground.view(np.uint32).reshape(*foreground.shape[:-2], SIDE * SIDE // 4) != 0
    return SIDE - fours.argmax(axis=-1) // 7 - fours[..., ::-1].argmax(axis=-1) // 7


def _span(line: Any) -> Any:
    """Pixels from the first to the last that is true, bool (…, 28) to int64 (…); 28 where there is none."""
    return SIDE - line.argmax(axis=-1) - line[..., ::-1].argmax(axis=-1)
