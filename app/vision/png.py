"""PNG files: the plainest ones straight to their pixels, and others without metadata that are not needed."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from app.vision.image_ops import SIDE, UInt8Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Chunks that tell how the pixels look, beside the critical ones: transparency, orientation, and an animation's frames.
_NEEDED = {b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT"}

# Texts that tell the orientation. The second is ImageMagick's way to keep EXIF.
_XMP, _RAW_EXIF = b"XML:com.adobe.xmp", b"Raw profile type exif"

# Bytes of such a text that are unpacked; Pillow refuses a file that has a longer one.
MAX_TEXT_BYTES = 2**20


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


def without_metadata(content: bytes) -> bytes:
    """Leave out the chunks that do not change how the picture looks.

    Pillow would unpack them, and refuses the whole file where one is damaged or unpacks to more than a megabyte.

    Args:
        content: A file that begins as a PNG does.

    Returns:
        The file with the critical chunks, those in ``_NEEDED``, and the first of each text that tells the orientation.
        The file itself where there are no others.
    """
    pieces, kept_to = [], 0
    seen: set[bytes] = set()
    for start, kind, end in _chunks(content):
        is_critical = not kind[0] & 0x20  # in ASCII, that bit makes a letter small
        if is_critical or kind in _NEEDED:
            continue
        pieces += [content[kept_to:start], _orientation_text(kind, content[start + 8 : end - 4], seen)]
        kept_to = end
    return b"".join([*pieces, content[kept_to:]]) if pieces else content


def _chunks(content: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Start, kind and end of each whole chunk, up to the last one that a decoder reads."""
    start = len(SIGNATURE)
    while start + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, start)
        end = start + 12 + length
        if end > len(content) or kind == b"IEND":
            return
        yield start, kind, end
        start = end


def _orientation_text(kind: bytes, content: bytes, seen: set[bytes]) -> bytes:
    """The chunk of a text that may tell the orientation, short enough for Pillow; empty for any other.

    Args:
        kind: Of the chunk.
        content: Its content.
        seen: Keywords of such texts that came before.
    """
    keyword, _, rest = content.partition(b"\0")
    if keyword in seen:
        return b""
    if kind == b"iTXt" and keyword == _XMP:
        seen.add(keyword)
        if rest[:1] != b"\1":
            return _chunk(kind, content)
        language, translated, packed = [*rest[2:].split(b"\0", 2), b"", b""][:3]
        text = _unpack(packed)[:MAX_TEXT_BYTES]
        return _chunk(kind, b"\0".join([keyword + b"\0\0\0" + language, translated, text]))
    if kind in (b"tEXt", b"zTXt") and keyword == _RAW_EXIF:
        seen.add(keyword)
        text = rest if kind == b"tEXt" else _unpack(rest[1:])
        return _chunk(b"tEXt", keyword + b"\0" + text) if len(text) <= MAX_TEXT_BYTES else b""
    return b""


def _unpack(packed: bytes) -> bytes:
    """At most a byte more than MAX_TEXT_BYTES; nothing where the text is damaged."""
    try:
        return zlib.decompressobj().decompress(packed, MAX_TEXT_BYTES + 1)
    except zlib.error:
        return b""
