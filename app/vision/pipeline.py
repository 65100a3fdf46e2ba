"""The whole way from a picture to the image that the network reads."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.inference.rejection import RejectionReason
from app.vision.background import make_thumbnail, remove_background, remove_bands, remove_local_background
from app.vision.brightness import shrink, to_brightness
from app.vision.decode import decode, open_image
from app.vision.image_ops import SIDE, Float32Image, Region, UInt8Image, histogram, quantile
from app.vision.mnist_like import has_dark_border, is_blank, is_mnist_like, is_placed
from app.vision.normalise import BOX_SIDE, normalise
from app.vision.png import decode_plain_png
from app.vision.regions import find_plate, find_sheet
from app.vision.segmentation import MIN_DEVIATIONS, segment

# A digit whose longer side has fewer pixels than this, twice those of the 20x20 box, is looked at more closely …
MIN_DIGIT_SIDE = 2 * BOX_SIDE

# … in the part of the picture this far around its middle, in lengths of its longer side: of a thin stroke, only a
# piece may have been found.
CLOSE_UP_RADIUS = 1.5

# On a 28x28 image, a digit differs from the grain by this many standard deviations, …
MIN_SMALL_DEVIATIONS = 8

# … and where it does not, what nowhere departs this far from the background, of 255, is the grain of empty paper.
MIN_DEPARTURE = 40


Box = tuple[int, int, int, int]


class PreprocessedImage(NamedTuple):
    """What the network reads of a picture.

    Attributes:
        image: uint8 (28, 28), 0 (background) to 255 (foreground). All 0 where the picture is blank.
        reason: Why the picture is rejected before the network is asked; None where it is not.
        box: Where that is on the upright picture: left, top, width and height, in pixels of the file. None where the
            picture is blank, or of 28x28 pixels that are passed on as they are.
    """

    image: UInt8Image
    reason: RejectionReason | None = None
    box: Box | None = None


class _Digit(NamedTuple):
    """A digit that was found.

    Attributes:
        foreground: float32 (height, width) of the whole view, 0 (everything else) to 255.
        several: Whether it is one of several.
        region: Rows and columns of the sheet or plate that it is on, or of the whole view.
    """

    foreground: Float32Image
    several: bool
    region: Region


_EMPTY = np.zeros((SIDE, SIDE), np.uint8)
_EMPTY.flags.writeable = False  # all blank pictures share it
_BLANK = PreprocessedImage(_EMPTY, RejectionReason.BLANK)


def preprocess(content: bytes, max_pixels: int, media_type: str | None = None) -> PreprocessedImage:
    """Preprocess the bytes of a file.

    Args:
        content: The file.
        max_pixels: The most that it may have, width times height.
        media_type: What the sender called it; only used to explain a refusal.

    Raises:
        ImageError: It cannot be decoded.
    """
    pixels = decode_plain_png(content)
    if pixels is not None:
        return preprocess_pixels(pixels)
    return preprocess_picture(open_image(content, max_pixels, media_type))


def preprocess_picture(opened: Image.Image) -> PreprocessedImage:
    """Preprocess a picture that ``decode.open_image`` has opened.

    Raises:
        NotAnImage: Its pixels are damaged.
    """
    largest = max(opened.size)  # JPEG may be decoded to a fraction of that
    picture = decode(opened)
    if picture.size == (SIDE, SIDE):
        return preprocess_pixels(to_brightness(picture))
    digit = _find_in_picture(picture)
    if digit is None:
        return _BLANK
    foreground, left, top, view = digit.foreground, 0, 0, picture
    close_up = _close_up_around(digit, picture)
    if close_up is not None:
        left, top = close_up[:2]
        view = picture.crop(close_up)
        closer = _find_in_picture(view)
        if closer is None:
            return _BLANK
        foreground = closer.foreground  # and not its ``several``: the close-up cuts neighbours
    scale = max(view.size) / max(foreground.shape), largest / max(picture.size)
    return _result(foreground, digit.several)._replace(box=bounding_box(foreground > 0, (left, top), scale))


def bounding_box(
    mask: NDArray[np.bool_], corner: tuple[int, int] = (0, 0), scale: tuple[float, float] = (1, 1)
) -> Box | None:
    """Where a mask is true.

    Args:
        mask: bool (height, width) of a view of a decoded picture.
        corner: Left and top of the view, in pixels of the decoded picture.
        scale: Pixels of the decoded picture for one of the mask, and of the file for one of the decoded picture.

    Returns:
        Left, top, width and height in pixels of the file. None where nothing is true.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    (x, y), (in_view, in_file) = corner, scale
    edges = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
    left, top, right, bottom = (
        round((start + edge * in_view) * in_file) for start, edge in zip((x, y, x, y), edges, strict=True)
    )
    return left, top, right - left, bottom - top


def preprocess_pixels(pixels: NDArray[Any]) -> PreprocessedImage:
    """Preprocess a grey 28x28 image. One that lies as MNIST's do is left as it is.

    Args:
        pixels: float32 or uint8 (28, 28), 0 to 255.
    """
    brightness = _to_uint8(pixels)
    if is_blank(brightness):
        return _BLANK
    on_dark = brightness if has_dark_border(brightness) else remove_bands(brightness)
    if on_dark is not None:  # the network tells whether there are several digits
        if is_placed(on_dark):
            return PreprocessedImage(on_dark)
        return PreprocessedImage(normalise(on_dark.astype(np.float32)), box=bounding_box(on_dark > 0))
    digit = _find_digit(brightness, MIN_SMALL_DEVIATIONS)
    if digit is not None:
        return _result(digit.foreground, digit.several)._replace(box=bounding_box(digit.foreground > 0))
    # So few pixels do not tell strokes from coarse grain. The network gets all that there is: it knows noise.
    return _stretch(remove_local_background(brightness))


def preprocess_many(images: Sequence[NDArray[Any]]) -> list[PreprocessedImage]:
    """Preprocess several images as ``preprocess_pixels`` does, in less time than one by one."""
    if len({image.dtype for image in images}) > 1:
        images = [_to_uint8(image) for image in images]
    found = preprocess_mnist_like(stack(images))
    return [one or preprocess_pixels(image) for one, image in zip(found, images, strict=True)]


def preprocess_mnist_like(images: NDArray[Any]) -> list[PreprocessedImage | None]:
    """Pass on those images that lie as MNIST's do, at a fraction of the time.

    Args:
        images: float32 or uint8 (n, 28, 28), 0 to 255.

    Returns:
        One for each; None for those that are left to ``preprocess_pixels``.
    """
    pixels = _to_uint8(images)
    unchanged = is_mnist_like(pixels).tolist()
    return [PreprocessedImage(image) if is_like else None for image, is_like in zip(pixels, unchanged, strict=True)]


def stack(images: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """At least one image, (28, 28) each, to (n, 28, 28). ``numpy.stack`` takes twice as long."""
    return np.concatenate(images).reshape(-1, SIDE, SIDE)


def _to_uint8(pixels: NDArray[Any]) -> UInt8Image:
    rounded: UInt8Image = pixels if pixels.dtype == np.uint8 else np.rint(pixels).astype(np.uint8)
    return rounded


def _result(foreground: Float32Image, several: bool) -> PreprocessedImage:
    return PreprocessedImage(normalise(foreground), RejectionReason.SEVERAL_DIGITS if several else None)


def _find_in_picture(picture: Image.Image) -> _Digit | None:
    """Find the digit of an upright 8-bit picture. None where it is blank."""
    brightness = to_brightness(shrink(picture))
    return None if is_blank(brightness) else _find_digit(brightness)


def _find_digit(brightness: UInt8Image, min_deviations: float = MIN_DEVIATIONS) -> _Digit | None:
    """Find the digit of an image; one on a sheet or a plate is looked for there alone.

    Args:
        brightness: uint8 (height, width), with some contrast.
        min_deviations: See ``segmentation.segment``.

    Returns:
        The digit. None where there is nothing but grain.
    """
    height, width = brightness.shape
    thumbnail = make_thumbnail(brightness)
    region = find_sheet(brightness, thumbnail)
    if region is None:
        found = segment(remove_background(brightness, thumbnail), min_deviations)
        if found is None:
            return None
        region = find_plate(found.foreground > 0)
        if region is None:
            return _Digit(*found, (slice(0, height), slice(0, width)))
    inside = brightness[region]
    found = segment(remove_background(inside, make_thumbnail(inside)), min_deviations)
    if found is None:
        return None
    foreground = np.zeros(brightness.shape, np.float32)
    foreground[region] = found.foreground
    rows, columns = region  # the pixels at its edges are half of what lies beyond
    inner = slice(rows.start + 1, rows.stop - 1), slice(columns.start + 1, columns.stop - 1)
    return _Digit(foreground, found.several, inner)


def _close_up_around(digit: _Digit, picture: Image.Image) -> tuple[int, int, int, int] | None:
    """The part of a picture around a digit that has few pixels: left, top, right and bottom.

    None where the picture has no more pixels of it.

    Args:
        digit: Found on a smaller scale than the picture's.
        picture: The whole.
    """
    scale = max(picture.size) / max(digit.foreground.shape)
    rows, columns = np.flatnonzero(digit.foreground.any(axis=1)), np.flatnonzero(digit.foreground.any(axis=0))
    side = max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) + 1
    if scale == 1 or side >= MIN_DIGIT_SIDE:
        return None
    y, x, radius = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2, CLOSE_UP_RADIUS * side
    within_rows, within_columns = digit.region
    edges = (
        max(x - radius, within_columns.start),
        max(y - radius, within_rows.start),
        min(x + radius, within_columns.stop),
        min(y + radius, within_rows.stop),
    )
    left, top, right, bottom = (round(edge * scale) for edge in edges)
    return left, top, min(right, picture.width), min(bottom, picture.height)


def _stretch(foreground: UInt8Image) -> PreprocessedImage:
    """Subtract the median and scale the rest up to 255."""
    over = np.maximum(foreground.astype(np.float32) - quantile(histogram(foreground), 0.5), 0)
    highest = float(over.max())
    return PreprocessedImage(np.rint(over * (255 / highest)).astype(np.uint8)) if highest >= MIN_DEPARTURE else _BLANK
