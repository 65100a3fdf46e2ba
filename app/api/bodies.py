"""Reads the bodies of requests within limits."""

import asyncio
from collections.abc import Container

from starlette.requests import ClientDisconnect, Request

from app.errors import BodyTooLarge, Overloaded, Stalled, UnsupportedEncoding

# Bytes of bodies that have come in part and are kept in memory until they are whole: a dozen of the largest. A body
# that is no larger than SMALL_BYTES so far, as one with a digit is, goes on all the same.
MAX_ARRIVING_BYTES, SMALL_BYTES = 64 * 2**20, 64 * 2**10

# The next piece of a body is not waited for any longer.
PIECE_TIMEOUT_SECONDS = 30.0


class BodyReader:
    """Reads the bodies of all requests to one process.

    A client that sends half of a large body and stops makes the service keep that half, so what is kept is bounded, in
    size and in time.
    """

    def __init__(
        self, max_arriving_bytes: int = MAX_ARRIVING_BYTES, timeout_seconds: float = PIECE_TIMEOUT_SECONDS
    ) -> None:
        """Start with nothing that arrives."""
        self._max_arriving_bytes, self._timeout_seconds = max_arriving_bytes, timeout_seconds
        self._arriving_bytes = 0  # only the event loop changes it

    async def read(
        self,
        request: Request,
        limit: int,
        advice: str = "send fewer or smaller images",
        codings: Container[str] = (),
    ) -> bytes:
        """Read a whole body.

        Args:
            request: Of which nothing was read before.
            limit: In bytes.
            advice: What the error says where the body is larger.
            codings: Content codings, such as gzip, that the caller decodes; see ``content_coding``.

        Raises:
            BodyTooLarge: More than ``limit`` bytes are declared, or have come.
            UnsupportedEncoding: The body is compressed, or only a part.
            Overloaded: Too many bytes arrive at once.
            Stalled: The next piece does not come.
            ClientDisconnect: The client hung up.
        """
        refusal = BodyTooLarge(f"the body is larger than {limit:,} bytes; {advice}")
        _check_headers(request, limit, refusal, codings)
        piece, more = await self._next_piece(request)
        if len(piece) > limit:
            raise refusal
        return await self._read_rest(request, piece, limit, refusal) if more else piece

    async def _read_rest(self, request: Request, piece: bytes, limit: int, refusal: BodyTooLarge) -> bytes:
        """The body that begins with this piece, and goes on."""
        pieces, size, more = [piece], len(piece), True
        self._arriving_bytes += size
        try:
            while more:
                if size > SMALL_BYTES and self._arriving_bytes > self._max_arriving_bytes:
                    raise Overloaded()
                piece, more = await self._next_piece(request)
                pieces.append(piece)
                size += len(piece)
                self._arriving_bytes += len(piece)
                if size > limit:
                    raise refusal
            return b"".join(pieces)
        finally:
            self._arriving_bytes -= size

    async def _next_piece(self, request: Request) -> tuple[bytes, bool]:
        """What has come of the body since the last time, and whether there is more."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                message = await request.receive()
        except TimeoutError:
            seconds = f"{self._timeout_seconds:g} seconds"
            raise Stalled(f"nothing more of the body came for {seconds}; send it again") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        return message.get("body", b""), message.get("more_body", False)


def _check_headers(request: Request, limit: int, refusal: BodyTooLarge, codings: Container[str]) -> None:
    """What a request says of its body. Whatever would make its bytes something else than they are is refused."""
    for name, value in request.scope["headers"]:
        if name == b"content-length":
            if value.isdigit() and int(value) > limit:
                raise refusal
        elif name == b"content-encoding":
            if value.strip().lower() not in (b"", b"identity") and content_coding(request) not in codings:
                raise UnsupportedEncoding("the body is compressed (Content-Encoding); send it as it is")
        elif name == b"transfer-encoding":
            if value.strip().lower() not in (b"chunked", b"identity"):
                raise UnsupportedEncoding("the body is compressed (Transfer-Encoding); send it as it is, or chunked")
        elif name == b"content-range":
            raise UnsupportedEncoding("the body is a part of another (Content-Range); send all of it in one request")


def content_coding(request: Request) -> str:
    """The content codings of a request's body as its headers name them, in lower case; empty for none."""
    return ", ".join(request.headers.getlist("content-encoding")).strip().lower().removeprefix("identity")
