"""The whole way from bytes to what the network reads."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import BlankImage
from app.vision.decode import open_image
from app.vision.digit import BLANK, SIDE, isolate, normalise
from app.vision.ink import FAINTEST, Grey, grey, ink, shrink

# MNIST's ground is 0; a 28x28 picture on a greyer one was not made like it and is read like any other.
DARKEST_GROUND = 16


def read(content: bytes, max_pixels: int, media_type: str | None = None) -> NDArray[np.uint8]:
    """The bytes of a picture to uint8 (28, 28), ground 0 and ink up to 255. Raises an ImageError."""
    return read_image(open_image(content, max_pixels, media_type))


def read_image(image: Image.Image) -> NDArray[np.uint8]:
    """An opened picture to uint8 (28, 28). Raises NotAnImage or BlankImage."""
    brightness = grey(shrink(image))
    if brightness.shape == (SIDE, SIDE):
        return read_grey(brightness)
    _refuse_blank(brightness)
    return normalise(isolate(ink(brightness)))


def read_grey(brightness: Grey) -> NDArray[np.uint8]:
    """Float32 (28, 28), 0 to 255, to what the network reads: as it is on a dark ground, as MNIST has it.

    On a light ground it is read like any other picture. Raises BlankImage.
    """
    _refuse_blank(brightness)
    if _is_like_mnist(brightness):
        return np.rint(brightness).astype(np.uint8)
    return normalise(isolate(ink(brightness)))


def _refuse_blank(brightness: Grey) -> None:
    if np.ptp(brightness) < FAINTEST:
        raise BlankImage(BLANK)


def _is_like_mnist(brightness: Grey) -> bool:
    border = np.concatenate([brightness[0], brightness[-1], brightness[1:-1, 0], brightness[1:-1, -1]])
    return bool(np.median(border) <= DARKEST_GROUND)
