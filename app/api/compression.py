"""Compresses and decompresses bodies, RFC 9110 (8.4.1): gzip, and deflate, which is zlib's format."""

import gzip
import zlib

from app.errors import BodyTooLarge, MalformedBody

# Content codings that can be taken and given, the preferred one first.
CODINGS = ("gzip", "deflate")

# Smaller replies fit into one packet and are not compressed.
MIN_COMPRESSED_BYTES = 1400

_LEVEL = 1  # higher levels hardly make probabilities smaller

_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32  # zlib looks at the header
_RAW_DEFLATE = -zlib.MAX_WBITS  # without a header, as some clients send what they call deflate


def decompress(body: bytes, coding: str, limit: int, advice: str = "send fewer or smaller images") -> bytes:
    """Decompress a body, but no more than ``limit`` bytes of it.

    Args:
        body: The compressed body.
        coding: One of CODINGS.
        limit: Most bytes of the result.
        advice: What the text of ``BodyTooLarge`` tells the user to do.

    Raises:
        BodyTooLarge: The result has more bytes.
        MalformedBody: The body is not compressed in this way, or cut short.
    """
    raw = coding == "deflate" and not _has_zlib_header(body)
    decompressor = zlib.decompressobj(_RAW_DEFLATE if raw else _GZIP_OR_ZLIB)
    try:
        content = decompressor.decompress(body, limit + 1)
    except zlib.error:
        raise MalformedBody(f"the body is not {coding} data, though Content-Encoding says so") from None
    if len(content) > limit:
        raise BodyTooLarge(f"the body is larger than {limit:,} bytes when it is decompressed; {advice}")
    if not decompressor.eof:
        raise MalformedBody(f"the body is cut short: its {coding} data does not end; send it again")
    if decompressor.unused_data:
        raise MalformedBody(f"something follows the {coding} data of the body; send the body alone")
    return content


def _has_zlib_header(body: bytes) -> bool:
    """Return whether deflate data begins as RFC 1950, 2.2 says: with method 8, and a multiple of 31."""
    return len(body) >= 2 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def compress(body: bytes, coding: str) -> bytes:
    """Compress a body in one of CODINGS."""
    return gzip.compress(body, _LEVEL, mtime=0) if coding == "gzip" else zlib.compress(body, _LEVEL)


def accepted_coding(accept_encoding: str) -> str | None:
    """Choose the coding of a reply by Accept-Encoding, RFC 9110 (12.5.3); None for an uncompressed one."""
    if not accept_encoding:
        return None
    weights = {}
    for item in accept_encoding.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weights[name] = next((_weight(text) for text in parameters if text.startswith("q=")), 1.0)
    usable = {coding: weights.get(coding, weights.get("*", 0.0)) for coding in CODINGS}
    best = max(CODINGS, key=lambda coding: usable[coding])
    return best if usable[best] > 0 else None


def _weight(parameter: str) -> float:
    try:
        return float(parameter[2:])
    except ValueError:
        return 0.0
