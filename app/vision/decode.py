"""Bytes to an upright 8-bit picture, trusting nothing about them."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from app.errors import NotAnImage, TooManyPixels, UnsupportedImage
from app.vision import jpeg, png
from app.vision.unsupported import Description, describe

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif", "image/tiff")
ALLOWED = "PNG, JPEG, WebP, BMP, GIF (first frame) or TIFF (first page)"

# Each scan of a progressive JPEG goes over all pixels again; programs write about ten.
MAX_SCANS = 100

# Pillow takes 16 bytes for each pixel of a WebP picture, and 8 at most for others, so it may have half as many.
WEBP_COST = 2

# A JPEG is decoded to no less than this on its longer side: a digit that fills a twentieth of it still has 40 pixels,
# twice what the 20x20 box takes.
MIN_DECODED_SIDE = 800

# White in files of floats (the first) and of 8, 10, 12, 14, 16 and 32 bits.
FULL_SCALES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0, 4294967295.0)

# Pixels of a deep picture that are scaled at a time: as floats, all 25 million would take a gigabyte.
BLOCK_PIXELS = 2**18

# TIFF tags.
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339

# By bits and format: Pillow returns unsigned numbers of 32 bits as signed ones, and signed ones of 8 bits as unsigned.
_REINTERPRETED: dict[Any, type[np.generic]] = {((32,), (1,)): np.uint32, ((8,), (2,)): np.int8}

# Where ``Image.info`` keeps the bytes of a JPEG that has no end marker.
_WITHOUT_END = "content without end"

# What is appended to such a file to see whether more is missing: bytes that decode to some pixels or others, and each
# restart marker with as many.
_FILLER = b"".join(bytes(place * 97 % 251 for place in range(5, 205)) + bytes([0xFF, 0xD0 + n % 8]) for n in range(16))

# What undoes each value of EXIF's orientation; 1 is upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ORIENTATION = 274

# Our own limit is checked as soon as the header is read; Pillow's would come first and be another.
Image.MAX_IMAGE_PIXELS = None

# What Pillow's readers raise on damaged files; the list is its documentation's and what fuzzing showed.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error, OverflowError)


def open_image(content: bytes, max_pixels: int, media_type: str | None = None) -> Image.Image:
    """Read a picture's header; nothing is decoded yet, but for WebP.

    Args:
        content: The file.
        max_pixels: The most that it may have, width times height.
        media_type: What the sender called it; only used to explain a refusal, the bytes decide.

    Raises:
        NotAnImage: It is no image, or damaged.
        UnsupportedImage: It is of a format that is not read.
        TooManyPixels: It has more than ``max_pixels``.
    """
    if not content:
        raise NotAnImage("the file is empty; send the bytes of an image")
    markers = jpeg.read_markers(content) if jpeg.is_jpeg(content) else None
    readable = content
    if content.startswith(png.SIGNATURE):
        readable = png.without_metadata(content)
    elif markers and not markers.has_end:
        readable = content.rstrip(b"\xff") + jpeg.END
    try:
        image = Image.open(io.BytesIO(readable), formats=FORMATS)
    except UnidentifiedImageError:
        raise _refusal(content, media_type) from None
    except DAMAGE:
        raise NotAnImage("the image is damaged: its header cannot be read; send it again or save it anew") from None
    if markers and markers.scans > MAX_SCANS:
        raise NotAnImage("the JPEG is made of more scans than any program writes; save it anew and send that")
    if markers and not markers.has_end:
        image.info[_WITHOUT_END] = content.rstrip(b"\xff")
    if image.format == "WEBP":
        max_pixels //= WEBP_COST
    if _pixels(image) > max_pixels:
        raise TooManyPixels(
            f"the {image.format} image has {image.width} x {image.height} pixels, more than {max_pixels:,}; send a "
            "smaller one"
        )
    return image


def is_webp(content: bytes) -> bool:
    """Whether a file begins as a WebP picture does."""
    return content.startswith(b"RIFF") and content[8:12] == b"WEBP"


def decode(image: Image.Image) -> Image.Image:
    """Decode the pixels of an opened picture, its first frame.

    A JPEG is decoded straight to an eighth, a quarter or half of its size where that is enough.

    Args:
        image: As ``open_image`` returns it.

    Returns:
        The upright picture: L, RGB or RGBA, 8 bits a channel.

    Raises:
        NotAnImage: The pixels are damaged.
    """
    try:
        if _is_jpeg(image):
            _load_jpeg(image)
        else:
            image.load()
        return _turn_upright(_to_8_bits(image), _orientation(image))
    except (*DAMAGE, ImportError):  # also odd metadata, and colours that Pillow was built without
        raise NotAnImage(f"the {image.format} image is cut short or corrupt; send it again or save it anew") from None


def _load_jpeg(image: Image.Image) -> None:
    """Decode a JPEG to no less than MIN_DECODED_SIDE. Raises OSError where a part of it is missing."""
    size = (MIN_DECODED_SIDE, MIN_DECODED_SIDE)
    image.draft(None, size)
    image.load()
    content = image.info.get(_WITHOUT_END)
    if content is not None:
        # The decoder makes up what is missing. If the pixels depend on what follows the file, some of them are.
        other = Image.open(io.BytesIO(content + _FILLER + jpeg.END), formats=("JPEG",))
        other.draft(None, size)
        if other.tobytes() != image.tobytes():
            raise OSError


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Any mode as L, RGB or RGBA: the others cannot be averaged, and some take several times the memory."""
    number_type = _tiff_number_type(image)
    if number_type or image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        return _scale_to_8_bits(values.view(number_type) if number_type else values)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        if image.mode != "RGBA":  # a copy would be as large once more
            image = image.convert("RGBA")
        # Programs that know of no transparency leave alpha 0 everywhere.
        return image if image.getbbox(alpha_only=True) else image.convert("RGB")
    mode = "L" if image.mode in ("L", "1") else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _tiff_number_type(image: Image.Image) -> type[np.generic] | None:
    """The type of a TIFF's numbers where Pillow returns their bits as those of another."""
    if image.format != "TIFF":
        return None
    tags = image.tag_v2  # type: ignore[attr-defined]  # a TIFF's
    return _REINTERPRETED.get((tags.get(_BITS_PER_SAMPLE), tags.get(_SAMPLE_FORMAT, (1,))))


def _scale_to_8_bits(values: NDArray[Any]) -> Image.Image:
    """Whole numbers of more than 8 bits, or floats, as 8-bit grey.

    Files do not tell what white is: cameras and scanners put 10, 12 or 14 bits into 16. It is taken to be the least of
    the usual full scales that the largest value fits; where there are negative values, black is as far below 0 as white
    is above it. Values that are not finite count as the nearest that are.

    Args:
        values: (height, width), of any type of number.
    """
    result = np.empty(values.shape, np.uint8)
    rows = max(1, BLOCK_PIXELS // values.shape[1])
    blocks = [slice(start, start + rows) for start in range(0, len(values), rows)]
    extremes: list[float] = []
    for block in blocks:
        finite = values[block][np.isfinite(values[block])]
        extremes += [float(finite.min()), float(finite.max())] if finite.size else []
    low, high = (min(extremes), max(extremes)) if extremes else (0.0, 0.0)
    scales = FULL_SCALES if values.dtype.kind == "f" else FULL_SCALES[1:]
    largest = max(high, -low)
    white = next((scale for scale in scales if largest <= scale), largest)
    black = -white if low < 0 else 0.0
    for block in blocks:
        numbers = np.nan_to_num(values[block].astype(np.float64), nan=high, posinf=high, neginf=low)
        result[block] = np.rint((numbers - black) / (white - black) * 255)
    return Image.fromarray(result)


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8. A damaged EXIF block turns nothing."""
    if not image.info and image.format == "PNG":  # it has no EXIF, and to ask for it takes longer
        return 1
    try:
        found = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (*DAMAGE, KeyError):
        return 1
    return found if isinstance(found, int) else 1


def _turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _is_jpeg(image: Image.Image) -> bool:
    """Pillow has another name for a JPEG that says that more pictures follow, as those of phones do."""
    return image.format in ("JPEG", "MPO")


def _pixels(image: Image.Image) -> int:
    """How many are decoded at once: a tile of a TIFF may be larger than the picture."""
    most = image.width * image.height
    if image.format == "TIFF":
        wide, high = (image.tag_v2.get(tag, 0) for tag in (322, 323))  # type: ignore[attr-defined]  # a TIFF's
        most = max(most, wide * high)
    return most


def _refusal(content: bytes, media_type: str | None) -> NotAnImage | UnsupportedImage:
    found = describe(content)
    if found is None and media_type and media_type not in (*MEDIA_TYPES, "image/jpg", "application/octet-stream"):
        found = Description(f"of type {media_type}")
    if found:
        advice = f"{found.advice}, or " if found.advice else ""
        return UnsupportedImage(f"the file is {found.kind}; {advice}send {ALLOWED}")
    return NotAnImage(f"the file is not an image that can be read, or its beginning is damaged; send {ALLOWED}")
