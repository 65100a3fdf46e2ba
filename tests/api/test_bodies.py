"""Bodies that come in pieces: whole, too large, too many at once, or never to their end."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from app.errors import BodyTooLarge, Overloaded, Stalled
from app.api.bodies import SMALL, Bodies


def sent(pieces: Sequence[bytes], *, whole: bool = True) -> Request:
    """A request whose body comes in these pieces; what is not whole never goes on."""
    coming = list(pieces)

    async def receive() -> Message:
        if not coming:
            await asyncio.Event().wait()
        piece = coming.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(coming) or not whole}

    return Request({"type": "http", "headers": []}, receive)


def test_pieces_become_a_whole() -> None:
    bodies = Bodies()
    for pieces in ([b""], [b"abc"], [b"a", b"", b"bc"]):
        assert asyncio.run(bodies.read(sent(pieces), 3)) == b"".join(pieces)
        with pytest.raises(BodyTooLarge, match="2 bytes; send less"):
            asyncio.run(bodies.read(sent([*pieces, b"def"]), 2, "send less"))


def test_the_rest_is_waited_for_with_patience_but_not_for_ever() -> None:
    bodies = Bodies(patience=0.05)
    with pytest.raises(Stalled, match=r"came for 0\.05 seconds"):
        asyncio.run(bodies.read(sent([b"a", b"b"], whole=False), 10))


def test_what_has_come_in_part_is_bounded_and_counted_out() -> None:
    async def scenario() -> None:
        bodies, piece = Bodies(most_arriving=4 * SMALL), bytes(SMALL)
        limit = 10 * SMALL
        assert len(await bodies.read(sent([8 * piece]), limit)) == 8 * SMALL  # whole at once, it need not be kept
        waiting = asyncio.create_task(bodies.read(sent([piece, piece, piece], whole=False), limit))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await bodies.read(sent([piece, piece, b"."]), limit)
        assert len(await bodies.read(sent([piece, b""]), limit)) == SMALL  # small ones go on
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert len(await bodies.read(sent([piece, piece, piece, b"."]), limit)) == 3 * SMALL + 1

    asyncio.run(scenario())


def test_a_client_that_hangs_up() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientDisconnect):
        asyncio.run(Bodies().read(Request({"type": "http", "headers": []}, receive), 10))
