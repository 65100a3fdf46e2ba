"""The parts of a multipart/form-data body that is in memory, without temporary files."""

import base64
import binascii
import functools
import quopri
import re
from collections.abc import Callable
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

from app.errors import MalformedBody

# A part's headers are a name, a file name and a type; browsers cut nothing, but no file system has longer names.
MAX_HEADER_BYTES = 4096

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,70}")  # a boundary that needs no quotes, RFC 2046 (5.1.1) and RFC 9110 (5.6.2)

_FOLD = re.compile(rb"\r\n[ \t]+")  # a header that goes on in the next line, RFC 5322 (2.2.3)


@dataclass(slots=True)
class Part:
    """One part of a multipart body. media_type: as the sender called it, without parameters."""

    name: str
    media_type: str | None
    content: bytes


def parse_multipart(body: bytes, content_type: str, *, most: int, too_many: Exception) -> list[Part]:
    """The parts of a multipart/form-data body, in order, as RFC 2046 (5.1.1) and RFC 7578 have it.

    Raises MalformedBody when it is cut short or has no boundary, ``too_many`` at part ``most`` + 1.
    """
    boundary = _boundary(content_type)
    if not boundary:
        raise MalformedBody("the multipart body names no boundary; let your HTTP client set the Content-Type header")
    # A delimiter begins with the line break before it; the first one may do without. What stands before that is a
    # preamble, what follows the closing one an epilogue, and neither means anything.
    _preamble, *pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, most + 2)
    parts: list[Part] = []
    for piece in pieces:
        if piece.startswith(b"--"):
            return parts
        if len(parts) == most:
            raise too_many
        parts.append(_part(piece))
    raise MalformedBody("the multipart body is cut short: its closing boundary is missing; send it again")


def _boundary(content_type: str) -> bytes | None:
    # As browsers, curl and nearly all others write it. To take any other apart costs as much as the rest of a form.
    start, _, plain = content_type.partition("; boundary=")
    if start == "multipart/form-data" and _PLAIN.fullmatch(plain):
        return plain.encode()
    return parse_options_header(content_type)[1].get(b"boundary")


def _part(piece: bytes) -> Part:
    """What stands between two delimiters: the rest of the first one's line, headers, an empty line, the content."""
    rest, line_end, piece = piece.partition(b"\r\n")
    # Without headers, which may be, the empty line comes at once.
    headers, empty_line, _ = (b"\r\n" + piece[: MAX_HEADER_BYTES + 4]).partition(b"\r\n\r\n")
    if rest.strip(b" \t") or not line_end or not empty_line:
        raise MalformedBody("the multipart body is damaged; send it again")
    name, media_type, decode = _described(headers)
    content = piece[len(headers) + 2 :]
    return Part(name, media_type, decode(content) if decode else content)


@functools.lru_cache(256)  # the parts of a client all look alike
def _described(headers: bytes) -> tuple[str, str | None, Callable[[bytes], bytes] | None]:
    """The name and the media type that a part's headers give it, and what decodes its content, if anything."""
    name, media_type, decode = "", None, None
    for line in _FOLD.sub(b" ", headers).split(b"\r\n"):
        field, _, value = line.partition(b":")
        field, value = field.strip().lower(), value.strip()
        if field == b"content-disposition":
            name = parse_options_header(value)[1].get(b"name", b"").decode("utf-8", "replace")
        elif field == b"content-type":
            media_type = parse_options_header(value)[0].decode("latin-1").lower()
        elif field in (b"content-transfer-encoding", b"content-encoding"):
            encoding = value.decode("latin-1").lower()
            if encoding not in _DECODERS:
                raise MalformedBody(f"a part of the form is in the encoding {encoding!r:.40}; send it as it is")
            decode = _DECODERS[encoding] or decode
    return name, media_type, decode


def _from_base64(content: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(content.split()), validate=True)
    except binascii.Error:
        raise MalformedBody("a part of the form says that it is in base64, and is not; send it as it is") from None


# RFC 2045, 6.1. RFC 7578, 4.7 calls them deprecated in forms; some clients write them all the same.
_DECODERS: dict[str, Callable[[bytes], bytes] | None] = {
    "base64": _from_base64,
    "quoted-printable": quopri.decodestring,
    **dict.fromkeys(("", "7bit", "8bit", "binary", "identity")),
}
