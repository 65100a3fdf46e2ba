"""Bodies that come in pieces: whole, too large, too many at once, or never to their end."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from app.api.bodies import SMALL_BYTES, BodyReader
from app.errors import BodyTooLarge, Overloaded, Stalled, UnsupportedEncoding
from tests.support.waiting import TIMEOUT_SECONDS


def sent(pieces: Sequence[bytes], *, whole: bool = True, headers: Sequence[tuple[bytes, bytes]] = ()) -> Request:
    """A request whose body comes in these pieces; what is not whole never goes on."""
    coming = list(pieces)

    async def receive() -> Message:
        if not coming:
            await asyncio.Event().wait()
        piece = coming.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(coming) or not whole}

    return Request({"type": "http", "headers": list(headers)}, receive)


def test_pieces_become_a_whole() -> None:
    bodies = BodyReader()
    for pieces in ([b""], [b"abc"], [b"a", b"", b"bc"]):
        assert asyncio.run(bodies.read(sent(pieces), 3)) == b"".join(pieces)
        with pytest.raises(BodyTooLarge, match="2 bytes; send less"):
            asyncio.run(bodies.read(sent([*pieces, b"def"]), 2, "send less"))


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ((b"content-length", b"11"), BodyTooLarge),
        ((b"content-encoding", b"gzip"), UnsupportedEncoding),
        ((b"content-encoding", b"Deflate"), UnsupportedEncoding),
        ((b"transfer-encoding", b"gzip, chunked"), UnsupportedEncoding),
        ((b"content-range", b"bytes 0-1/2"), UnsupportedEncoding),
        ((b"content-length", b"10"), None),
        ((b"content-encoding", b" Identity "), None),
        ((b"content-encoding", b""), None),
        ((b"transfer-encoding", b"Chunked"), None),
        ((b"range", b"bytes=0-1"), None),
    ],
)
def test_what_the_headers_say_is_looked_at_before_the_body(
    header: tuple[bytes, bytes], error: type[Exception] | None
) -> None:
    request = sent([b"abc"], headers=[(b"host", b"a"), header])
    if error is None:
        assert asyncio.run(BodyReader().read(request, 10)) == b"abc"
    else:
        nothing_comes = sent([], whole=False, headers=request.scope["headers"])
        with pytest.raises(error):
            asyncio.run(BodyReader(timeout_seconds=0.05).read(nothing_comes, 10))


@pytest.mark.parametrize("pieces", [[], [b"a"], [b"a", b"b"]])
def test_the_next_piece_is_waited_for_but_not_for_ever(pieces: list[bytes]) -> None:
    """Nor is the first one."""
    bodies = BodyReader(timeout_seconds=0.05)
    with pytest.raises(Stalled, match=r"arrived for 0\.05 seconds"):
        asyncio.run(asyncio.wait_for(bodies.read(sent(pieces, whole=False), 10), TIMEOUT_SECONDS))


def test_what_has_come_in_part_is_bounded_and_counted_out() -> None:
    async def scenario() -> None:
        bodies, piece = BodyReader(max_arriving_bytes=4 * SMALL_BYTES), bytes(SMALL_BYTES)
        limit = 10 * SMALL_BYTES
        assert len(await bodies.read(sent([8 * piece]), limit)) == 8 * SMALL_BYTES  # whole at once, it need not be kept
        waiting = asyncio.create_task(bodies.read(sent([piece, piece, piece], whole=False), limit))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await bodies.read(sent([piece, piece, b"."]), limit)
        assert len(await bodies.read(sent([piece, b""]), limit)) == SMALL_BYTES  # small ones go on
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(await bodies.read(sent([piece, piece, piece, b"."]), limit)) == 3 * SMALL_BYTES + 1

    asyncio.run(scenario())


def test_a_client_that_hangs_up() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        asyncio.run(BodyReader().read(Request({"type": "http", "headers": []}, receive), 10))
