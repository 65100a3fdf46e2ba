"""Bytes to a decoded picture, trusting nothing about them."""

import io
import struct
import zlib

from PIL import Image, UnidentifiedImageError

from app.errors import NotAnImage, TooManyPixels, UnsupportedImage

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif", "image/tiff")
ALLOWED = "PNG, JPEG, WebP, BMP, GIF (first frame) or TIFF (first page)"

# Each scan of a progressive JPEG goes over all pixels again; programs write about ten. The marker cannot occur
# within a scan, and hardly ever does in metadata.
MOST_SCANS = 100

# Pillow takes 16 bytes for each pixel of a WebP picture, and 8 at most for others, so it may have half as many.
WEBP_COST = 2

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
    if is_jpeg(image) and content.count(b"\xff\xda") > MOST_SCANS:
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


def is_jpeg(image: Image.Image) -> bool:
    """Pillow has another name for a JPEG that says that more pictures follow, as those of phones do."""
    return image.format in ("JPEG", "MPO")


def load(image: Image.Image) -> Image.Image:
    """Decode the pixels of an opened picture (its first frame). Raises NotAnImage when they are damaged."""
    try:
        image.load()
    except DAMAGE:
        raise damaged(image) from None
    return image


def damaged(image: Image.Image) -> NotAnImage:
    """What to tell of a picture whose pixels cannot be had."""
    return NotAnImage(f"the {image.format} image is cut short or corrupt; send it again or save it anew")


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
