"""Bytes to an upright 8-bit picture, trusting nothing about them."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from app.errors import NotAnImage, TooManyPixels, UnsupportedImage

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif", "image/tiff")
ALLOWED = "PNG, JPEG, WebP, BMP, GIF (first frame) or TIFF (first page)"

# Each scan of a progressive JPEG goes over all pixels again; programs write about ten. The marker cannot occur
# within a scan, and hardly ever does in metadata.
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

# First bytes of files that people do send, so that the answer can say what is wrong with them.
_OTHERS = (
    (b"%PDF", "a PDF document"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML or SVG document"),
    (b"8BPS", "a Photoshop document"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"qoif", "a QOI image"),
    (b"P1", "a PBM image"),
    (b"P2", "a PGM image"),
    (b"P3", "a PPM image"),
    (b"P4", "a PBM image"),
    (b"P5", "a PGM image"),
    (b"P6", "a PPM image"),
)

# What Pillow's readers raise on damaged files; the list is its documentation's and what fuzzing showed.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error, OverflowError)


def open_image(content: bytes, max_pixels: int, media_type: str | None = None) -> Image.Image:
    """Read a picture's header; nothing is decoded yet.

    media_type: what the sender called it; only used to explain a refusal, the bytes decide.
    Raises NotAnImage, UnsupportedImage, or TooManyPixels (width times height over ``max_pixels``).
    """
    if not content:
        raise NotAnImage("the file is empty; send the bytes of an image")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise _refusal(content, media_type) from None
    except DAMAGE:
        raise NotAnImage("the image is damaged: its header cannot be read; send it again or save it anew") from None
    if _is_jpeg(image) and content.count(b"\xff\xda") > MAX_SCANS:
        raise NotAnImage("the JPEG is made of more scans than any program writes; save it anew and send that")
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
            image.draft(None, (MIN_DECODED_SIDE, MIN_DECODED_SIDE))
        image.load()
        return _turn_upright(_to_8_bits(image), _orientation(image))
    except (*DAMAGE, ImportError):  # also odd metadata, and colours that Pillow was built without
        raise NotAnImage(f"the {image.format} image is cut short or corrupt; send it again or save it anew") from None


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Any mode as L, RGB or RGBA: the others cannot be averaged, and some take several times the memory."""
    if image.mode.startswith("I") or image.mode == "F":
        return _scale_to_8_bits(np.asarray(image))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        return image if image.mode == "RGBA" else image.convert("RGBA")  # a copy would be as large once more
    mode = "L" if image.mode in ("L", "1") else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _scale_to_8_bits(values: NDArray[Any]) -> Image.Image:
    """Whole numbers of more than 8 bits, or floats, as 8-bit grey.

    Files do not tell what white is: cameras and scanners put 10, 12 or 14 bits into 16. It is taken to be the least of
    the usual full scales that the largest value fits. Values that are not finite count as the nearest that are.

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
    white = next((scale for scale in scales if high <= scale), high)
    for block in blocks:
        numbers = np.nan_to_num(values[block].astype(np.float64), nan=high, posinf=high, neginf=low)
        result[block] = np.rint(np.clip(numbers / white, 0, 1) * 255)
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
    start = content[:64].lstrip()
    kind = next((name for mark, name in _OTHERS if start.startswith(mark)), None)
    if content[4:8] == b"ftyp":
        kind = "an AVIF or HEIF image" if content[8:12] in (b"avif", b"avis", b"heic", b"heix", b"mif1") else "a video"
    if kind is None and media_type and media_type not in (*MEDIA_TYPES, "image/jpg", "application/octet-stream"):
        kind = f"of type {media_type}"
    if kind:
        return UnsupportedImage(f"the file is {kind}; send {ALLOWED}")
    return NotAnImage(f"the file is not an image that can be read, or its beginning is damaged; send {ALLOWED}")
