"""Reads requests' bodies, within bounds."""

import asyncio

from starlette.requests import ClientDisconnect, Request

from app.errors import BodyTooLarge, Overloaded, Stalled

# Bytes of bodies that have come in part and are kept in memory until they are whole: a dozen of the largest. What is
# no larger than SMALL so far, as a digit is, goes on all the same.
MOST_ARRIVING, SMALL = 64 * 2**20, 64 * 2**10

# Seconds after which the rest of a body is not waited for any more when nothing of it comes.
PATIENCE = 30.0


class Bodies:
    """The bodies of all requests to one process.

    Whoever sends half of a large body and stops makes the service keep that half; so what is kept like that is bounded,
    in size and in time.
    """

    def __init__(self, most_arriving: int = MOST_ARRIVING, patience: float = PATIENCE) -> None:
        """most_arriving: bytes. patience: seconds."""
        self._most_arriving, self._patience = most_arriving, patience
        self._arriving = 0  # bytes; only the event loop changes it

    async def read(self, request: Request, limit: int, advice: str = "send fewer or smaller images") -> bytes:
        """The whole body. Raises BodyTooLarge as soon as more than ``limit`` bytes are declared or have come,
        Overloaded, Stalled, and ClientDisconnect.
        """
        refusal = BodyTooLarge(f"the body is larger than {limit:,} bytes; {advice}")
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise refusal
        piece, more = await _piece(request)
        if len(piece) > limit:
            raise refusal
        return await self._whole(request, piece, limit, refusal) if more else piece

    async def _whole(self, request: Request, piece: bytes, limit: int, refusal: BodyTooLarge) -> bytes:
        """What begins with this piece, and goes on."""
        pieces, size, more = [piece], len(piece), True
        self._arriving += size
        try:
            while more:
                if size > SMALL and self._arriving > self._most_arriving:
                    raise Overloaded()
                try:
                    async with asyncio.timeout(self._patience):
                        piece, more = await _piece(request)
                except TimeoutError:
                    raise Stalled(
                        f"nothing more of the body came for {self._patience:g} seconds; send it again"
                    ) from None
                pieces.append(piece)
                size += len(piece)
                self._arriving += len(piece)
                if size > limit:
                    raise refusal
            return b"".join(pieces)
        finally:
            self._arriving -= size


async def _piece(request: Request) -> tuple[bytes, bool]:
    """What has come of the body since the last time, and whether there is more."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)
