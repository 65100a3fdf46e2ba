"""The parts of a multipart/form-data body that is in memory, without temporary files."""

from collections.abc import Callable
from dataclasses import dataclass, field

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.errors import MalformedBody


@dataclass
class Part:
    """One part of a multipart body. media_type: as the sender called it, without parameters."""

    name: str = ""
    media_type: str | None = None
    content: bytes = b""


@dataclass
class _Reader:
    """Collects parts from the parser's callbacks. Nothing is copied to disk: the body is in memory already."""

    most: int
    too_many: Exception
    parts: list[Part] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    header: tuple[bytes, bytes] = (b"", b"")
    ended: bool = False

    def callbacks(self) -> dict[str, Callable[..., None]]:
        names = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "end")
        return {f"on_{name}": getattr(self, name) for name in names}

    def part_begin(self) -> None:
        if len(self.parts) == self.most:
            raise self.too_many
        self.parts.append(Part())
        self.chunks = []

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self.chunks.append(data[start:end])

    def part_end(self) -> None:
        self.parts[-1].content = b"".join(self.chunks)

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self.header = (self.header[0] + data[start:end], self.header[1])

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self.header = (self.header[0], self.header[1] + data[start:end])

    def header_end(self) -> None:
        name, value = self.header
        self.header = (b"", b"")
        if name.lower() == b"content-disposition":
            self.parts[-1].name = parse_options_header(value)[1].get(b"name", b"").decode("utf-8", "replace")
        elif name.lower() == b"content-type":
            self.parts[-1].media_type = parse_options_header(value)[0].decode("latin-1").lower()

    def end(self) -> None:
        self.ended = True


def parse_multipart(body: bytes, content_type: str, *, most: int, too_many: Exception) -> list[Part]:
    """The parts of a multipart/form-data body, in order.

    Raises MalformedBody when it is cut short or has no boundary, ``too_many`` at part ``most`` + 1.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise MalformedBody("the multipart body names no boundary; let your HTTP client set the Content-Type header")
    reader = _Reader(most, too_many)
    try:
        parser = MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except (MultipartParseError, ValueError):
        raise MalformedBody("the multipart body is damaged; send it again") from None
    if not reader.ended:
        raise MalformedBody("the multipart body is cut short: its closing boundary is missing; send it again")
    return reader.parts
