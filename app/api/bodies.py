"""Reads request bodies within limits of size and time."""

import asyncio

from starlette.requests import ClientDisconnect, Request

from app.errors import BodyTooLarge, Overloaded, Stalled, UnsupportedEncoding

# Most bytes of incomplete bodies in memory, enough for a dozen of the largest. A body that has at most SMALL_BYTES so
# far, such as one with a single digit, is read even beyond that.
MAX_ARRIVING_BYTES, SMALL_BYTES = 64 * 2**20, 64 * 2**10

# Longest wait for the next piece of a body.
PIECE_TIMEOUT_SECONDS = 30.0


class BodyReader:
    """Reads the bodies of all requests to one process.

    A client that sends half of a large body and stops makes the service keep that half. So the memory of incomplete
    bodies and the wait for the next piece are limited.
    """

    def __init__(
        self, max_arriving_bytes: int = MAX_ARRIVING_BYTES, timeout_seconds: float = PIECE_TIMEOUT_SECONDS
    ) -> None:
        """Set the limits."""
        self._max_arriving_bytes, self._timeout_seconds = max_arriving_bytes, timeout_seconds
        self._arriving_bytes = 0  # changed on the event loop only

    async def read(self, request: Request, limit: int, advice: str = "send fewer or smaller images") -> bytes:
        """Read a whole body.

        Args:
            request: A request whose body was not read before.
            limit: Most bytes of the body.
            advice: What the text of ``BodyTooLarge`` tells the user to do.

        Raises:
            BodyTooLarge: Content-Length is more than ``limit``, or more bytes arrived.
            UnsupportedEncoding: The body is compressed, or only a part.
            Overloaded: Incomplete bodies take too much memory.
            Stalled: The next piece did not arrive in time.
            ClientDisconnect: The client closed the connection.
        """
        refusal = BodyTooLarge(f"the body is larger than {limit:,} bytes; {advice}")
        _check_headers(request, limit, refusal)
        piece, more = await self._next_piece(request)
        if len(piece) > limit:
            raise refusal
        return await self._read_rest(request, piece, limit, refusal) if more else piece

    async def _read_rest(self, request: Request, piece: bytes, limit: int, refusal: BodyTooLarge) -> bytes:
        """Return the whole body, of which ``piece`` is the first part."""
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
        """Return the next piece of the body, and whether there are more."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                message = await request.receive()
        except TimeoutError:
            seconds = f"{self._timeout_seconds:g} seconds"
            raise Stalled(f"no more of the body arrived for {seconds}; send it again") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        return message.get("body", b""), message.get("more_body", False)


def _check_headers(request: Request, limit: int, refusal: BodyTooLarge) -> None:
    """Check the headers that describe the body.

    Raises:
        BodyTooLarge: Content-Length is more than ``limit``.
        UnsupportedEncoding: The body is compressed, or only a part.
    """
    for name, value in request.scope["headers"]:
        if name == b"content-length":
            if value.isdigit() and int(value) > limit:
                raise refusal
        elif name == b"content-encoding":
            if value.strip().lower() not in (b"", b"identity"):
                raise UnsupportedEncoding("the body is compressed (Content-Encoding); send it uncompressed")
        elif name == b"transfer-encoding":
            if value.strip().lower() not in (b"chunked", b"identity"):
                raise UnsupportedEncoding("the body is compressed (Transfer-Encoding); send it uncompressed")
        elif name == b"content-range":
            raise UnsupportedEncoding("the body is only a part (Content-Range); send all of it in one request")
