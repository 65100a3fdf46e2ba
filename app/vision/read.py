"""The whole way from bytes to what the network reads."""

from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from app.errors import BlankImage
from app.vision.decode import open_image
from app.vision.digit import BLANK, BOX, SIDE, isolate, normalise
from app.vision.ink import FAINTEST, WORKING_SIDE, Grey, Levels, decode, grey, ink, within

# MNIST's ground is 0; a 28x28 picture on a greyer one was not made like it and is read like any other.
DARKEST_GROUND = 16

# A digit whose longer side has fewer pixels than this, twice those of the box, is looked at more closely.
ENOUGH = 2 * BOX

Doubt = Literal["blank", "several_digits"]


class Sight(NamedTuple):
    """What can be seen on a picture.

    image: what the network reads, uint8 (28, 28), ground 0 and ink up to 255; empty where the picture is blank.
    doubt: what speaks against its showing one digit; None where nothing does.
    """

    image: Levels
    doubt: Doubt | None = None


_EMPTY = np.zeros((SIDE, SIDE), np.uint8)
_EMPTY.flags.writeable = False  # many hold it
_BLANK = Sight(_EMPTY, "blank")


def read(content: bytes, max_pixels: int, media_type: str | None = None) -> Sight:
    """What can be seen on a picture, from its bytes. Raises an ImageError, but no BlankImage."""
    return read_image(open_image(content, max_pixels, media_type))


def read_image(image: Image.Image) -> Sight:
    """The same of an opened picture. Raises NotAnImage."""
    picture = decode(image)
    if picture.size == (SIDE, SIDE):
        return _read_small(grey(picture))
    try:
        found, several = _find(within(picture, WORKING_SIDE))
        closer = _around(found, picture)
        if closer is not None:
            found, _ = _find(within(closer, WORKING_SIDE))  # where a neighbour would be cut
    except BlankImage:
        return _BLANK
    return _sight(found, several)


def _sight(found: Grey, several: bool) -> Sight:
    return Sight(normalise(found), "several_digits" if several else None)


def _find(view: Image.Image) -> tuple[Grey, bool]:
    """The ink of the digit alone, and whether there are several digits. Raises BlankImage."""
    brightness = grey(view)
    if _is_blank(brightness):
        raise BlankImage(BLANK)
    return isolate(ink(brightness))


def _around(found: Grey, picture: Image.Image) -> Image.Image | None:
    """The part of the picture around a digit that was found small, where that shows more of it.

    found: the digit's ink, on a smaller scale than the picture.
    """
    height, width = found.shape
    scale = max(picture.size) / max(height, width)
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    side = max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) + 1
    if scale == 1 or side >= ENOUGH:
        return None
    y, x = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2
    box = (x - side, y - side, x + side, y + side)  # as much again around it
    left, top, right, bottom = (round(edge * scale) for edge in box)
    return picture.crop((max(left, 0), max(top, 0), min(right, picture.width), min(bottom, picture.height)))


def read_grey(brightness: Grey) -> Sight:
    """What can be seen on float32 (28, 28), 0 to 255: on a dark ground, as MNIST has it, the network reads it as it is.

    On a light ground it is read like any other picture.
    """
    return _read_small(np.rint(brightness).astype(np.uint8))


def _read_small(brightness: Levels) -> Sight:
    if _is_blank(brightness):
        return _BLANK
    if _is_like_mnist(brightness):
        return Sight(brightness)  # whether there are several digits is for the network to tell
    try:
        return _sight(*isolate(ink(brightness)))
    except BlankImage:
        return _BLANK


def _is_blank(brightness: Levels) -> bool:
    return int(brightness.max()) - int(brightness.min()) < FAINTEST


def _is_like_mnist(brightness: Levels) -> bool:
    """Whether more than half of the border is as dark as MNIST's ground."""
    border = np.concatenate([brightness[0], brightness[-1], brightness[1:-1, 0], brightness[1:-1, -1]])
    return 2 * int(np.count_nonzero(border <= DARKEST_GROUND)) > len(border)
