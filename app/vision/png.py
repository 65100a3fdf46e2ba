"""PNG files: the plainest ones of 28x28 straight to their pixels, without Pillow's way through the chunks."""

import struct
import zlib

import numpy as np
from PIL import Image

from app.vision.image_ops import SIDE, UInt8Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _chunk(kind: bytes, content: bytes) -> bytes:
    """Length, kind, content, and a checksum of the last two (PNG specification, 5.3)."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


# 28x28, 8 bits of grey, not interlaced; and what a file ends with.
_BEGIN = SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0))
_END = _chunk(b"IEND", b"")

# Where the content of the pixels' chunk starts, and how many bytes of the file are something else.
_START = len(_BEGIN) + 8
_OTHER_BYTES = _START + 4 + len(_END)


def decode_plain_png(content: bytes) -> UInt8Image | None:
    """Decode a 28x28 grey PNG that holds nothing but its pixels, in one chunk, as most programs write it.

    It takes a third of the time that ``decode`` takes. Like Pillow, it does not check the checksum of the pixels.

    Args:
        content: Any file.

    Returns:
        uint8 (28, 28), 0 to 255, read-only. None for any other file, and for a damaged one.
    """
    if not (content.startswith(_BEGIN) and content.endswith(_END)):
        return None
    length, kind = struct.unpack_from(">I4s", content, len(_BEGIN))
    if kind != b"IDAT" or length != len(content) - _OTHER_BYTES:
        return None
    try:
        image = Image.frombytes("L", (SIDE, SIDE), content[_START : _START + length], "zip", "L", 0)
    except (ValueError, OSError):
        return None
    return np.frombuffer(image.tobytes(), np.uint8).reshape(SIDE, SIDE)
