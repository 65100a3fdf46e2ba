"""What our server adds to uvicorn."""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
import uvloop

from app.http import protocol as ours
from app.http.protocol import MOST_SILENT, Http
from app.server import AT_ONCE, Server
from tests.conftest import free_port
from tests.http.test_predictions import SEVEN

GET = b"GET /health/live HTTP/1.1\r\nhost: a\r\n"


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """No request comes."""


def test_a_burst_of_connections_is_taken_in_few_turns_of_the_loop() -> None:
    """Under load a turn takes a tenth of a second and more: one connection a turn would leave the last for seconds."""
    burst = 6 * AT_ONCE

    async def turns() -> int:
        port = free_port()
        server = Server(uvicorn.Config(nothing, port=port, http=Http, log_config=None, lifespan="off"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        with contextlib.ExitStack() as stack:
            # They are made while the loop stands still, as it does while it answers others.
            for _ in range(burst):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            count = 0
            while len(server.server_state.connections) < burst and count < 10 * burst:
                await asyncio.sleep(0)
                count += 1
        server.should_exit = True
        await serving
        return count

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(turns()) <= burst // 4


async def empty(scope: Any, receive: Any, send: Any) -> None:
    """A reply to whatever comes."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Busy(Server):
    """Told to end when the loop has not seen yet what came on more new connections than it takes in a turn."""

    def __init__(self, lines: contextlib.ExitStack) -> None:
        super().__init__(uvicorn.Config(empty, port=free_port(), http=Http, log_config=None, lifespan="off"))
        self._stack = lines
        self.lines: list[socket.socket] = []

    async def main_loop(self) -> None:
        for _ in range(AT_ONCE + 4):
            line = self._stack.enter_context(socket.create_connection(("127.0.0.1", self.config.port), timeout=10))
            line.sendall(GET + b"\r\n")
            self.lines.append(line)


def test_who_has_connected_when_it_is_told_to_end_is_answered() -> None:
    """A reset would leave the client in doubt, and one is what the end of a socket means to those who wait at it."""
    with contextlib.ExitStack() as lines, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        server = Busy(lines)
        runner.run(server.serve())
        replies = [line.recv(2000) for line in server.lines]
    assert len(replies) > AT_ONCE
    for reply in replies:
        assert reply.startswith(b"HTTP/1.1 204 ")
        assert b"\r\nconnection: close\r\n" in reply


def pieces_without_end(start: bytes, piece: bytes) -> Iterator[bytes]:
    yield start
    yield from itertools.repeat(piece)


CHUNKED = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "piece", "status"),
    [
        (GET, b"x-one: more\r\n" * 1000, b"431"),
        (GET + b"x-one: ", bytes([120]) * 10_000, b"431"),
        (b"GET /", b"a" * 10_000, b"431"),
        (CHUNKED + b"3\r\nabc\r\n0\r\n", b"x-one: more\r\n" * 1000, b""),  # trailers
        (CHUNKED + b"3;a=", b"b" * 10_000, b""),  # what may stand behind the size of a chunk
    ],
)
def test_a_head_without_end_is_refused(client: httpx.Client, start: bytes, piece: bytes, status: bytes) -> None:
    """Long before it fills the memory."""
    with socket.create_connection(("127.0.0.1", client.base_url.port or 80), timeout=10) as line:
        sent = 0
        with contextlib.suppress(ConnectionError):
            for part in pieces_without_end(start, piece):
                line.sendall(part)
                sent += len(part)
                assert sent < 100 * MOST_SILENT  # the kernel takes a part of it
        with contextlib.suppress(ConnectionError):
            assert line.recv(2000)[9:12] in (status, b"")  # nothing where the end of the line came first
    assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7


def test_who_sends_too_long_a_head_is_told_so(client: httpx.Client) -> None:
    with socket.create_connection(("127.0.0.1", client.base_url.port or 80), timeout=10) as line:
        line.sendall(GET + b"x-one: " + bytes([120]) * MOST_SILENT)
        told = b"".join(iter(lambda: line.recv(2000), b""))
    assert told.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert told.endswith(b"send fewer headers")


def test_a_long_head_is_none_too_long(client: httpx.Client) -> None:
    headers = {f"x-{number}": "y" * 1000 for number in range(30)}
    for _ in range(4):  # on one connection
        assert client.get("/health/live", headers=headers).is_success


def test_who_begins_a_request_must_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are not many, and one that says nothing, or half a head, would be held for ever."""
    monkeypatch.setattr(ours, "PATIENCE", 0.1)

    async def replies() -> list[bytes]:
        port = free_port()
        server = Server(uvicorn.Config(nothing, port=port, http=Http, log_config=None, lifespan="off"))
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        found = []
        for start in (b"", GET):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(start)
            found.append(await asyncio.wait_for(reader.read(), 10))
            writer.close()
        server.should_exit = True
        await serving
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        silent, half = runner.run(replies())
    assert silent == b""
    assert half.startswith(b"HTTP/1.1 408 ")
