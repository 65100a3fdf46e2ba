"""The whole way from bytes to what the network reads."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import BlankImage
from app.vision.decode import open_image
from app.vision.digit import BLANK, BOX, SIDE, isolate, normalise
from app.vision.ink import FAINTEST, WORKING_SIDE, Grey, Levels, decode, grey, ink, within

# MNIST's ground is 0; a 28x28 picture on a greyer one was not made like it and is read like any other.
DARKEST_GROUND = 16

# A digit whose longer side has fewer pixels than this, twice those of the box, is looked at more closely.
ENOUGH = 2 * BOX


def read(content: bytes, max_pixels: int, media_type: str | None = None) -> NDArray[np.uint8]:
    """The bytes of a picture to uint8 (28, 28), ground 0 and ink up to 255. Raises an ImageError."""
    return read_image(open_image(content, max_pixels, media_type))


def read_image(image: Image.Image) -> NDArray[np.uint8]:
    """An opened picture to uint8 (28, 28). Raises NotAnImage or BlankImage."""
    picture = decode(image)
    if picture.size == (SIDE, SIDE):
        return _read_small(grey(picture))
    found = _find(within(picture, WORKING_SIDE))
    closer = _around(found, picture)
    return normalise(found if closer is None else _find(within(closer, WORKING_SIDE)))


def _find(view: Image.Image) -> Grey:
    """The ink of the digit alone. Raises BlankImage."""
    brightness = grey(view)
    _refuse_blank(brightness)
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


def read_grey(brightness: Grey) -> NDArray[np.uint8]:
    """Float32 (28, 28), 0 to 255, to what the network reads: as it is on a dark ground, as MNIST has it.

    On a light ground it is read like any other picture. Raises BlankImage.
    """
    return _read_small(np.rint(brightness).astype(np.uint8))


def _read_small(brightness: Levels) -> NDArray[np.uint8]:
    _refuse_blank(brightness)
    if _is_like_mnist(brightness):
        return brightness
    return normalise(isolate(ink(brightness)))


def _refuse_blank(brightness: Levels) -> None:
    if int(brightness.max()) - int(brightness.min()) < FAINTEST:
        raise BlankImage(BLANK)


def _is_like_mnist(brightness: Levels) -> bool:
    """Whether more than half of the border is as dark as MNIST's ground."""
    border = np.concatenate([brightness[0], brightness[-1], brightness[1:-1, 0], brightness[1:-1, -1]])
    return 2 * int(np.count_nonzero(border <= DARKEST_GROUND)) > len(border)
