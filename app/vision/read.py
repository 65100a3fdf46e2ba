"""The whole way from bytes to what the network reads."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import BlankImage
from app.inference.rejection import RejectionReason
from app.vision.decode import open_image
from app.vision.digit import BOX, GRAINIEST, SIDE, isolate, normalise
from app.vision.ink import (
    FAINTEST,
    WORKING_SIDE,
    Float32Image,
    UInt8Image,
    counts,
    decode,
    grey,
    ink,
    quantile,
    raised,
    thumbnail,
    within,
    without_bands,
)
from app.vision.plates import plate, sheet
from app.vision.png import plain_png

# MNIST's ground is 0; a 28x28 picture on a greyer one was not made like it and is read like any other.
DARKEST_GROUND = 16

# The digits of MNIST are 20 pixels high or wide, 13 in 60,000 are 19, and their centre of mass is less than one pixel
# from the middle. What is smaller, or farther off than this, was not made like them.
OFF_CENTRE = 1.5

# A digit whose longer side has fewer pixels than this, twice those of the box, is looked at more closely.
ENOUGH = 2 * BOX

# So far around its middle, in lengths of its longer side: of a thin stroke, only a part may have been found.
AROUND = 1.5

# On 28x28, ink is cut out of its ground where it is this many of the ground's standard deviations darker …
CLEAREST_GRAIN = 8

# … and where it is not: ink that is nowhere this much (of 255) over its ground is the grain of empty paper.
COARSEST_GRAIN = 40

Truths = NDArray[np.bool_]


class PreprocessedImage(NamedTuple):
    """What can be seen on a picture.

    image: what the network reads, uint8 (28, 28), ground 0 and ink up to 255; empty where the picture is blank.
    reason: why it is rejected before the network is asked; None where it is not.
    """

    image: UInt8Image
    reason: RejectionReason | None = None


_EMPTY = np.zeros((SIDE, SIDE), np.uint8)
_EMPTY.flags.writeable = False  # many hold it
_BLANK = PreprocessedImage(_EMPTY, RejectionReason.BLANK)


def read(content: bytes, max_pixels: int, media_type: str | None = None) -> PreprocessedImage:
    """What can be seen on a picture, from its bytes. Raises an ImageError, but no BlankImage."""
    levels = plain_png(content)
    return read_image(open_image(content, max_pixels, media_type)) if levels is None else read_grey(levels)


def read_image(image: Image.Image) -> PreprocessedImage:
    """The same of an opened picture. Raises NotAnImage."""
    picture = decode(image)
    if picture.size == (SIDE, SIDE):
        return _read_small(grey(picture))
    try:
        found = _find(within(picture, WORKING_SIDE))
        closer = _around(found, picture)
        if closer is not None:
            found = found._replace(ink=_find(within(closer, WORKING_SIDE)).ink)  # a neighbour would be cut there
    except BlankImage:
        return _BLANK
    return _sight(found)


class _Found(NamedTuple):
    """A digit on a picture.

    ink: of the digit alone, float32 (height, width). several: whether it is one of several. top, left, bottom, right:
    of the sheet or plate that it is on, or of the whole picture.
    """

    ink: Float32Image
    several: bool
    top: int
    left: int
    bottom: int
    right: int


def _sight(found: _Found) -> PreprocessedImage:
    return PreprocessedImage(normalise(found.ink), RejectionReason.SEVERAL_DIGITS if found.several else None)


def _find(view: Image.Image) -> _Found:
    """The digit that a picture shows. Raises BlankImage."""
    brightness = grey(view)
    if _is_blank(brightness):
        raise BlankImage
    return _isolate(brightness)


def _isolate(brightness: UInt8Image, grainiest: float = GRAINIEST) -> _Found:
    """The same, of what is not blank. A digit on a sheet or a plate is looked for there alone."""
    small = thumbnail(brightness)
    place = sheet(brightness, small)
    if place is None:
        found, several = isolate(ink(brightness, small), grainiest)
        place = plate(found > 0)
        if place is None:
            return _Found(found, several, 0, 0, *brightness.shape)
    alone = np.zeros(brightness.shape, np.float32)
    part = brightness[place]
    alone[place], several = isolate(ink(part, thumbnail(part)), grainiest)
    rows, columns = place  # at whose edges pixels are half of what lies beyond
    return _Found(alone, several, rows.start + 1, columns.start + 1, rows.stop - 1, columns.stop - 1)


def _around(found: _Found, picture: Image.Image) -> Image.Image | None:
    """The part of the picture around a digit that was found small, where that shows more of it.

    found: on a smaller scale than the picture.
    """
    scale = max(picture.size) / max(found.ink.shape)
    rows, columns = np.flatnonzero(found.ink.any(axis=1)), np.flatnonzero(found.ink.any(axis=0))
    side = max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) + 1
    if scale == 1 or side >= ENOUGH:
        return None
    y, x, reach = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2, AROUND * side
    left, top = max(x - reach, found.left), max(y - reach, found.top)
    right, bottom = min(x + reach, found.right), min(y + reach, found.bottom)
    left, top, right, bottom = (round(edge * scale) for edge in (left, top, right, bottom))
    return picture.crop((left, top, min(right, picture.width), min(bottom, picture.height)))


def read_grey(brightness: NDArray[Any]) -> PreprocessedImage:
    """What can be seen on float32 or uint8 (28, 28), 0 to 255: as on a grey picture of that size.

    One that lies as MNIST's do, on a dark ground, is left as it is.
    """
    return _read_small(_rounded(brightness))


def read_small(pictures: Sequence[NDArray[Any]]) -> list[PreprocessedImage]:
    """The same of several, which takes less time than one by one."""
    if len({picture.dtype for picture in pictures}) > 1:
        pictures = [_rounded(picture) for picture in pictures]
    found = read_plain(stack(pictures))
    return [plain or read_grey(picture) for plain, picture in zip(found, pictures, strict=True)]


def read_plain(brightness: NDArray[Any]) -> list[PreprocessedImage | None]:
    """The same of those among (n, 28, 28) that lie as MNIST's do, found together at a fraction of the time; None of the
    others, which are for ``read_grey``.
    """
    levels = _rounded(brightness)
    return [
        PreprocessedImage(one) if plain else None for one, plain in zip(levels, is_plain(levels).tolist(), strict=True)
    ]


def is_plain(levels: UInt8Image) -> Truths:
    """Which of (n, 28, 28) lie as MNIST's do, so that they are read as they are: (n,)."""
    return ~_is_blank(levels) & _has_dark_border(levels) & _is_placed(levels)


def stack(images: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Images, at least one, as one array: each (28, 28) to (n, 28, 28). numpy's own ``stack`` takes twice as long."""
    return np.concatenate(images).reshape(-1, SIDE, SIDE)


def _rounded(brightness: NDArray[Any]) -> UInt8Image:
    levels: UInt8Image = brightness if brightness.dtype == np.uint8 else np.rint(brightness).astype(np.uint8)
    return levels


def _read_small(brightness: UInt8Image) -> PreprocessedImage:
    if _is_blank(brightness):
        return _BLANK
    on_dark = brightness if _has_dark_border(brightness) else without_bands(brightness)
    if on_dark is not None:  # whether there are several digits is for the network to tell
        return PreprocessedImage(on_dark if _is_placed(on_dark) else normalise(on_dark.astype(np.float32)))
    try:
        return _sight(_isolate(brightness, CLEAREST_GRAIN))
    except BlankImage:
        # So few pixels are too few to tell ink from coarse grain: the network sees all that there is, and knows what
        # noise is.
        return _stretched(raised(brightness))


def _stretched(ink: UInt8Image) -> PreprocessedImage:
    """All ink over its median, up to 255."""
    over = np.maximum(ink.astype(np.float32) - quantile(counts(ink), 0.5), 0)
    most = float(over.max())
    return PreprocessedImage(np.rint(over * (255 / most)).astype(np.uint8)) if most >= COARSEST_GRAIN else _BLANK


def _is_blank(brightness: UInt8Image) -> Truths:
    """(…, height, width) to (…)."""
    contrast = brightness.max(axis=(-2, -1)) - brightness.min(axis=(-2, -1))  # uint8, and never below 0
    return np.asarray(contrast < FAINTEST)


def _has_dark_border(brightness: UInt8Image) -> Truths:
    """Whether more than half of the border is as dark as MNIST's ground: (…, 28, 28) to (…)."""
    border = _in_a_row(brightness)[..., _BORDER]
    return np.asarray((border <= DARKEST_GROUND).sum(axis=-1) > len(_BORDER) // 2)


def _is_placed(brightness: UInt8Image) -> Truths:
    """Whether the ink is as large as MNIST's and in the middle, (…, 28, 28) to (…); or larger, so that there is more
    than a digit as MNIST has it, or one with noise around.
    """
    inked = np.greater(brightness, DARKEST_GROUND, order="C")
    moments = _in_a_row(brightness).astype(np.float32) @ _MOMENTS
    in_the_middle = np.abs(moments[..., 1:]).max(axis=-1) <= OFF_CENTRE * moments[..., 0]
    high = _height(inked)
    placed = np.asarray(in_the_middle & (high >= BOX - 1))  # nearly all are: their width need not be found
    if not placed.all():
        side = np.maximum(high, _extent(inked.any(axis=-2)))
        placed |= (side > BOX + 2) | ((side >= BOX - 1) & in_the_middle)
    return placed


def _in_a_row(brightness: UInt8Image) -> UInt8Image:
    return brightness.reshape(*brightness.shape[:-2], SIDE * SIDE)


def _height(inked: Truths) -> Any:
    """From the first to the last row with ink, contiguous (…, 28, 28) to (…); all where there is none.

    Four pixels at a time, seven times a row: with so short rows, each by itself, numpy takes two and a half to four
    times as long, from 32 images on.
    """
    fours = inked.view(np.uint32).reshape(*inked.shape[:-2], SIDE * SIDE // 4) != 0
    return SIDE - fours.argmax(axis=-1) // 7 - fours[..., ::-1].argmax(axis=-1) // 7


def _extent(inked: Any) -> Any:
    """From the first to the last, (…, 28) to (…); all where there is none."""
    return SIDE - inked.argmax(axis=-1) - inked[..., ::-1].argmax(axis=-1)


_PLACES = np.indices((SIDE, SIDE)).reshape(2, -1)  # rows and columns of the pixels
_BORDER = np.flatnonzero(np.isin(_PLACES, (0, SIDE - 1)).any(axis=0))

# An image's pixels times this: their sum, and that of their places, from the middle. All whole halves, so exact.
_MOMENTS = np.vstack([np.ones(SIDE * SIDE), _PLACES - (SIDE - 1) / 2]).T.astype(np.float32)
