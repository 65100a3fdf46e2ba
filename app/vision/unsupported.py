"""What a file is that is not read here, so that the answer can say so, and how to convert it."""

import io
from typing import NamedTuple

from PIL import TiffImagePlugin

from app.vision import jpeg

# First bytes of files that people do send.
_SIGNATURES = (
    (b"%PDF", "a PDF document"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML or SVG document"),
    (b"8BPS", "a Photoshop document"),
    (b"\0\0\1\0", "an icon (ICO)"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (b"qoif", "a QOI image"),
    (b"P1", "a PBM image"),
    (b"P2", "a PGM image"),
    (b"P3", "a PPM image"),
    (b"P4", "a PBM image"),
    (b"P5", "a PGM image"),
    (b"P6", "a PPM image"),
)

# Brands of files in the ISO base media format (ISO/IEC 14496-12) that are pictures: HEIF (23008-12, annex B) and AVIF.
# "msf1" and those that end in "c" or "s" are sequences.
_AVIF = {b"avif", b"avis", b"avio"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF = {b"mif1", b"mif2", b"mif3", b"msf1", b"miaf", b"1pic", b"avci", b"avcs", b"jpeg", b"jpgs", b"vvic", b"vvis"}
_CANON_RAW = {b"crx "}

# How many brands of a file are looked at; programs write about ten.
MAX_BRANDS = 32

_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339
_SAMPLE_FORMATS = {
    1: "whole numbers",
    2: "signed whole numbers",
    3: "floats",
    5: "complex numbers",
    6: "complex numbers",
}


class Description(NamedTuple):
    """What a file is.

    Attributes:
        kind: With its article.
        advice: What to do instead of sending a picture of another format; empty where there is nothing else.
    """

    kind: str
    advice: str = ""


def describe(content: bytes) -> Description | None:
    """Tell what a file is that Pillow cannot open; None where its beginning says nothing."""
    if content[4:8] == b"ftyp":
        return _describe_base_media(content)
    if jpeg.is_jpeg(content):
        return _describe_jpeg(content)
    if content.startswith(_TIFF_SIGNATURES):
        return _describe_tiff(content)
    start = content[:64].lstrip()
    return next((Description(kind) for signature, kind in _SIGNATURES if start.startswith(signature)), None)


def _describe_base_media(content: bytes) -> Description:
    """By all brands, since many pictures have a general one as the first."""
    end = min(int.from_bytes(content[:4], "big"), 8 + 4 * MAX_BRANDS, len(content))
    brands = {content[8:12], *(content[place : place + 4] for place in range(16, end, 4))}
    if brands & _AVIF:
        return Description("an AVIF image", "convert it to PNG or JPEG")
    if brands & _HEIC:
        return Description(
            "a HEIC image",
            "convert it to JPEG (iPhones take JPEG with Settings, Camera, Formats, Most Compatible)",
        )
    if brands & _HEIF:
        return Description("a HEIF image", "convert it to JPEG")
    if brands & _CANON_RAW:
        return Description("a raw image of a camera (CR3)", "convert it to JPEG")
    return Description("a video")


def _describe_jpeg(content: bytes) -> Description | None:
    markers = jpeg.read_markers(content)
    if markers.is_jpeg_ls:
        return Description("a JPEG-LS image", "convert it to PNG")
    if markers.bits not in (0, 8):
        return Description(f"a JPEG of {markers.bits} bits a channel", "save it with 8 bits a channel")
    return None


def _describe_tiff(content: bytes) -> Description | None:
    """By its first page's kind of numbers."""
    file = io.BytesIO(content)
    header = file.read(8)
    if header[2:4] in (b"+\0", b"\0+"):  # BigTIFF, whose header is longer
        header += file.read(8)
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(tags.next)
        tags.load(file)
        bits, formats = tags.get(_BITS_PER_SAMPLE, (1,)), tags.get(_SAMPLE_FORMAT, (1,))
        numbers = _SAMPLE_FORMATS[formats[0]]
    except Exception:  # the file is damaged; what Pillow raises then is not documented
        return None
    channels = f", {len(bits)} channels" if len(bits) > 1 else ""
    return Description(f"a TIFF of {bits[0]}-bit {numbers}{channels}", "save it with 8 bits a channel")
