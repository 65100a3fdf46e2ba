"""The markers of a JPEG file (ITU-T T.81, annex B), as far as they tell what a decoder will make of it."""

import re
from typing import NamedTuple

_END_OF_IMAGE, _START_OF_SCAN, _JPEG_LS = 0xD9, 0xDA, 0xF7

# Starts of frame; the three others in their range are tables. JPEG-LS (ITU-T T.87) has its own.
_FRAMES = {*range(0xC0, 0xD0), _JPEG_LS} - {0xC4, 0xC8, 0xCC}

# Those that have no segment after them: TEM and SOI.
_ALONE = {0x01, 0xD8}

# The next marker, also within the compressed data of a scan: there, 0xFF stands before 0 where it is data, and before a
# restart marker.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")

# What a file ends with.
END = bytes([0xFF, _END_OF_IMAGE])


class Markers(NamedTuple):
    """What the markers of a file say.

    Attributes:
        bits: Of each channel; 0 where there is no frame.
        is_jpeg_ls: Whether it is compressed in the way of JPEG-LS.
        scans: How many times a decoder goes over the pixels.
        has_end: Whether the image ends; anything may follow.
    """

    bits: int
    is_jpeg_ls: bool
    scans: int
    has_end: bool


def is_jpeg(content: bytes) -> bool:
    """Whether a file begins as a JPEG does."""
    return content.startswith(b"\xff\xd8\xff")


def read_markers(content: bytes) -> Markers:
    """Read the markers up to the end of the image.

    What metadata hold, such as a thumbnail, does not count, nor does what follows the image, such as the film of a
    motion photo.

    Args:
        content: A file that begins as a JPEG does.
    """
    bits, is_jpeg_ls, scans, position = 0, False, 0, 0
    while found := _MARKER.search(content, position):
        marker, position = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            return Markers(bits, is_jpeg_ls, scans, has_end=True)
        if marker in _ALONE:
            continue
        if marker in _FRAMES and not bits:
            bits, is_jpeg_ls = int.from_bytes(content[position + 2 : position + 3]), marker == _JPEG_LS
        scans += marker == _START_OF_SCAN
        position += max(2, int.from_bytes(content[position : position + 2], "big"))
    return Markers(bits, is_jpeg_ls, scans, has_end=False)
