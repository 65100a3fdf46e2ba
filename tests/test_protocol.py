"""What our protocol class repairs in uvicorn, over real connections."""

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
import uvloop

from app import protocol
from app.protocol import MAX_HEAD_BYTES, HttpProtocol
from tests.support.calls import metric
from tests.support.images import SEVEN
from tests.support.servers import free_port
from tests.support.waiting import TIMEOUT_SECONDS, until

GET = b"GET /health/live HTTP/1.1\r\nhost: a\r\n"
CHUNKED = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n"


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection(("127.0.0.1", client.base_url.port or 80), timeout=30)


def told(client: httpx.Client, request: bytes) -> bytes:
    """Everything that comes back until the service closes the connection."""
    with connect(client) as line:
        line.sendall(request)
        return b"".join(iter(lambda: line.recv(65536), b""))


def pieces_without_end(start: bytes, piece: bytes) -> Iterator[bytes]:
    yield start
    yield from itertools.repeat(piece)


@pytest.mark.parametrize(
    ("start", "piece", "status"),
    [
        (GET, b"x-one: more\r\n" * 1000, b"431"),
        (GET + b"x-one: ", bytes([120]) * 10_000, b"431"),
        (b"GET /", b"a" * 10_000, b"431"),
        (CHUNKED + b"3\r\nabc\r\n0\r\n", b"x-one: more\r\n" * 1000, b"431"),  # trailers
        (CHUNKED + b"3;a=", b"b" * 10_000, b"431"),  # an extension of a chunk
    ],
)
def test_a_head_without_end_is_refused(client: httpx.Client, start: bytes, piece: bytes, status: bytes) -> None:
    """Long before it fills the memory."""
    with connect(client) as line:
        sent = 0
        with contextlib.suppress(ConnectionError):
            for part in pieces_without_end(start, piece):
                line.sendall(part)
                sent += len(part)
                assert sent < 100 * MAX_HEAD_BYTES  # the kernel takes a part of it
        with contextlib.suppress(ConnectionError):
            assert line.recv(2000)[9:12] in (status, b"")  # nothing where the reset came first
    assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7


REFUSED = 'digits_requests_total{method="-",path="other",status="%d"}'


@pytest.mark.parametrize(
    ("request_bytes", "status", "word"),
    [
        (GET + b"x-one: " + bytes([120]) * MAX_HEAD_BYTES, 431, "fewer headers"),
        (b"nonsense\r\n\r\n", 400, "not an HTTP/1.1"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "not an HTTP/1.1"),  # TLS
        (b"GET /\xff\xfe HTTP/1.1\r\nhost: a\r\n\r\n", 400, ""),
        (b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nabcde", 400, ""),
        (
            b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            400,
            "",
        ),
        (CHUNKED + b"3\r\nabcXXnonsense", 400, "not an HTTP/1.1"),
    ],
)
def test_what_is_no_request_is_a_problem_logged_and_counted(
    client: httpx.Client, request_bytes: bytes, status: int, word: str
) -> None:
    before = metric(client.get("/metrics").text, REFUSED % status)
    reply = told(client, request_bytes)
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    assert word in body.decode()
    assert metric(client.get("/metrics").text, REFUSED % status) == before + 1


@pytest.mark.parametrize(
    ("hosts", "status"), [(b"", b"400"), (b"host: a\r\nhost: b\r\n", b"400"), (b"host: a\r\n", b"200")]
)
def test_a_request_has_one_host(client: httpx.Client, hosts: bytes, status: bytes) -> None:
    reply = told(client, b"GET /health/live HTTP/1.1\r\nconnection: close\r\n" + hosts + b"\r\n")
    assert reply[9:12] == status


def test_http_1_0_needs_no_host(client: httpx.Client) -> None:
    assert told(client, b"GET /health/live HTTP/1.0\r\n\r\n")[9:12] == b"200"


@pytest.mark.parametrize(
    ("target", "status"),
    [(b"http://a", b"200"), (b"http://a/", b"200"), (b"http://a/health/live", b"200"), (b"http://a/none?x=1", b"404")],
)
def test_a_target_may_be_a_whole_url(client: httpx.Client, target: bytes, status: bytes) -> None:
    reply = told(client, b"GET " + target + b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert reply[9:12] == status


def test_a_long_head_is_none_too_long(client: httpx.Client) -> None:
    headers = {f"x-{number}": "y" * 1000 for number in range(30)}
    for _ in range(4):  # on one connection
        assert client.get("/health/live", headers=headers).is_success


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """A reply at once, whatever comes."""
    refusal = scope["state"].get("refusal")
    headers = [(b"content-length", b"0")] if refusal else []
    await send({"type": "http.response.start", "status": 408 if refusal else 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def served(story: Callable[[uvicorn.Server, int], Awaitable[None]], app: Any = nothing, **options: Any) -> None:
    """Tell a story to a server of ours with another app, on one event loop."""

    async def tell() -> None:
        port = free_port()
        config = uvicorn.Config(app, port=port, http=HttpProtocol, log_config=None, lifespan="off", **options)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        await until(lambda: server.started, "the server")
        try:
            await asyncio.wait_for(story(server, port), TIMEOUT_SECONDS)
        finally:
            server.should_exit = True
            await serving

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(tell())


@contextlib.asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def exchange(port: int, request: bytes) -> bytes:
    """Everything that comes back until the connection is closed."""
    async with connection(port) as (reader, writer):
        writer.write(request)
        return await reader.read()


def test_a_request_must_go_on_and_a_connection_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_SECONDS", 0.1)

    async def story(server: uvicorn.Server, port: int) -> None:
        assert await exchange(port, b"") == b""
        assert (await exchange(port, GET)).startswith(b"HTTP/1.1 408 ")
        # Answered before its body came, which never does.
        async with connection(port) as (reader, writer):
            writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nabc")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")
            writer.write(b"more")
            assert await reader.read() == b""

    served(story, timeout_keep_alive=60)


def test_a_connection_that_was_reset_leaves_no_timer() -> None:
    async def story(server: uvicorn.Server, port: int) -> None:
        async with connection(port) as (reader, writer):
            writer.write(GET + b"\r\n")
            await reader.readuntil(b"\r\n\r\n")
            (served,) = server.server_state.connections
            timer = served.timeout_keep_alive_task
            assert timer is not None
            line = writer.get_extra_info("socket")
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # its close is a reset
            writer.transport.abort()
            await until(lambda: not server.server_state.connections, "the connection's end")
            assert timer.cancelled()

    served(story, timeout_keep_alive=60)


def test_a_server_that_stops_answers_one_more_request_on_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LAST_REQUEST_SECONDS", 60)  # it ends with the reply, however slow the machine

    async def story(server: uvicorn.Server, port: int) -> None:
        async with connection(port) as (reader, writer):
            writer.write(GET + b"\r\n")
            assert b"connection: close" not in await reader.readuntil(b"\r\n\r\n")
            (served,) = server.server_state.connections
            served.shutdown()
            writer.write(GET + b"\r\n")
            assert b"connection: close" in await reader.read()  # to its end

    served(story)


def test_a_server_that_stops_closes_a_connection_that_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "LAST_REQUEST_SECONDS", 0.05)

    async def story(server: uvicorn.Server, port: int) -> None:
        async with connection(port) as (reader, _):
            await until(lambda: len(server.server_state.connections) == 1, "the connection")
            (served,) = server.server_state.connections
            served.shutdown()
            assert await reader.read() == b""

    served(story)


def test_connections_have_a_limit() -> None:
    async def story(server: uvicorn.Server, port: int) -> None:
        async with connection(port) as (one, to_one):
            async with connection(port), connection(port):
                await until(lambda: len(server.server_state.connections) == 3, "the connections")
                to_one.write(GET + b"\r\n")
                assert (await one.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 408 ")  # this app's to all refusals
            await until(lambda: len(server.server_state.connections) == 1, "the others' end")
            to_one.write(GET + b"\r\n")
            assert (await one.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")

    served(story, limit_concurrency=2)


def test_a_mistake_of_ours_is_not_told_as_the_client_s(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: HttpProtocol) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(HttpProtocol, "offers_upgrade", broken)

    async def story(server: uvicorn.Server, port: int) -> None:
        assert await exchange(port, GET + b"\r\n") == b""

    served(story)
    assert any(record.exc_info for record in caplog.records)


def test_the_time_between_two_requests_can_be_set(start_server: Any) -> None:
    server = start_server(DIGITS_KEEP_ALIVE="1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as line:
        line.sendall(GET + b"\r\n")
        began = time.monotonic()
        assert b"".join(iter(lambda: line.recv(2000), b"")).startswith(b"HTTP/1.1 200 ")
        assert time.monotonic() - began > 0.9
