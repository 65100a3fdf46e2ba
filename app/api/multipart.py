"""Parses a multipart/form-data body in memory, without temporary files."""

import base64
import binascii
import functools
import quopri
import re
from collections.abc import Callable
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

from app.errors import MalformedBody

# Most bytes of a part's headers: a name, a type, and a file name, which no file system allows to be longer.
MAX_HEADER_BYTES = 4096

_PLAIN_BOUNDARY = re.compile(r"[A-Za-z0-9_-]{1,70}")  # needs no quotes: RFC 2046, 5.1.1 and RFC 9110, 5.6.2

_FOLD = re.compile(rb"\r\n[ \t]+")  # a header that continues on the next line: RFC 5322, 2.2.3


@dataclass(slots=True)
class Part:
    """One part of a multipart body.

    Attributes:
        name: Name of the form field.
        media_type: As sent, in lower case and without parameters.
        content: The bytes, after any Content-Transfer-Encoding is removed.
    """

    name: str
    media_type: str | None
    content: bytes


def parse_multipart(body: bytes, content_type: str, *, max_parts: int, too_many: Exception) -> list[Part]:
    """Split a multipart/form-data body into its parts (RFC 2046, 5.1.1 and RFC 7578).

    Args:
        body: The whole body.
        content_type: The Content-Type header, which has the boundary.
        max_parts: Most parts.
        too_many: The exception to raise if there are more.

    Returns:
        The parts in order.

    Raises:
        MalformedBody: The body is cut short or damaged, or has no boundary.
    """
    boundary = _boundary(content_type)
    if not boundary:
        raise MalformedBody("the multipart body names no boundary; let your HTTP client set the Content-Type header")
    # A delimiter includes the line break before it, which the first one may lack. The preamble before the first
    # delimiter and the epilogue after the last one are ignored.
    _preamble, *pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, max_parts + 2)
    parts: list[Part] = []
    for piece in pieces:
        if piece.startswith(b"--"):
            return parts
        if len(parts) == max_parts:
            raise too_many
        parts.append(_part(piece))
    raise MalformedBody("the multipart body is cut short: its closing boundary is missing; send it again")


def _boundary(content_type: str) -> bytes | None:
    # Browsers, curl and nearly all other clients write the header this way, and the general parser is slow.
    start, _, boundary = content_type.partition("; boundary=")
    if start == "multipart/form-data" and _PLAIN_BOUNDARY.fullmatch(boundary):
        return boundary.encode()
    return parse_options_header(content_type)[1].get(b"boundary")


def _part(piece: bytes) -> Part:
    """Parse the bytes between two delimiters: the rest of the first one's line, headers, an empty line, the content."""
    rest, line_end, piece = piece.partition(b"\r\n")
    # A part may have no headers; then it starts with the empty line.
    headers, empty_line, _ = (b"\r\n" + piece[: MAX_HEADER_BYTES + 4]).partition(b"\r\n\r\n")
    if rest.strip(b" \t") or not line_end or not empty_line:
        raise MalformedBody("the multipart body is damaged; send it again")
    name, media_type, decode = _parse_headers(headers)
    content = piece[len(headers) + 2 :]
    return Part(name, media_type, decode(content) if decode else content)


@functools.lru_cache(256)  # all parts from one client have much the same headers
def _parse_headers(headers: bytes) -> tuple[str, str | None, Callable[[bytes], bytes] | None]:
    """Return a part's field name, its media type, and the function that decodes its content, or None."""
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
                raise MalformedBody(f"a part of the form has the encoding {encoding!r:.40}; send it without")
            decode = _DECODERS[encoding] or decode
    return name, media_type, decode


def _from_base64(content: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(content.split()), validate=True)
    except binascii.Error:
        raise MalformedBody(
            "a part of the form is not in base64, which its header names; send it without an encoding"
        ) from None


# RFC 2045, 6.1. RFC 7578, 4.7 deprecates them in forms, but some clients still send them.
_DECODERS: dict[str, Callable[[bytes], bytes] | None] = {
    "base64": _from_base64,
    "quoted-printable": quopri.decodestring,
    **dict.fromkeys(("", "7bit", "8bit", "binary", "identity")),
}
