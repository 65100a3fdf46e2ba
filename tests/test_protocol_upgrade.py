"""Offers to go over to HTTP/2, as Java's client and `curl --http2` make them with every request."""

import itertools
import json
import socket

import httpx
import pytest

from tests.support.images import SEVEN

OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
LENGTH = b"content-length: %d\r\n\r\n" % len(SEVEN)
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
BODY = {LENGTH: SEVEN, CHUNKED: b"%x\r\n%b\r\n0\r\n\r\n" % (len(SEVEN), SEVEN)}


def predict(*headers: bytes) -> bytes:
    return b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: image/png\r\n" + b"".join(headers)


def replies(client: httpx.Client, pieces: list[bytes], count: int) -> list[tuple[int, bytes]]:
    """Statuses and bodies of the replies to what is sent piece by piece over one connection."""
    address = "127.0.0.1", client.base_url.port
    found = []
    with socket.create_connection(address, timeout=20) as connection, connection.makefile("rb") as reader:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
            client.get("/health/live")  # so that each arrives by itself
        for _ in range(count):
            status = int(reader.readline().split()[1])
            length = 0
            while line := reader.readline().strip():
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            found.append((status, reader.read(length)))
    return found


@pytest.mark.parametrize("framing", [pytest.param(LENGTH, id="length"), pytest.param(CHUNKED, id="chunked")])
@pytest.mark.parametrize("cuts", [pytest.param((), id="whole"), pytest.param((30, 100, -60, -9), id="in pieces")])
def test_the_body_is_read_all_the_same(client: httpx.Client, framing: bytes, cuts: tuple[int, ...]) -> None:
    """And the connection goes on after it, with offers and without."""
    request = predict(OFFER, framing) + BODY[framing]
    places = [0, *(cut % len(request) for cut in cuts), len(request)]
    pieces = [request[a:b] for a, b in itertools.pairwise(places)]
    plain = predict(LENGTH) + SEVEN
    found = replies(client, [*pieces, plain, *pieces], 3)
    assert [(status, json.loads(body)["digit"]) for status, body in found] == [(200, 7)] * 3


def test_two_at_once(client: httpx.Client) -> None:
    one = predict(OFFER, LENGTH) + SEVEN
    found = replies(client, [one + one + predict(LENGTH) + SEVEN], 3)
    assert [(status, json.loads(body)["digit"]) for status, body in found] == [(200, 7)] * 3


def test_very_many_at_once(client: httpx.Client) -> None:
    """More than Python would call itself."""
    one = b"GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h\r\n\r\n"
    assert {status for status, _ in replies(client, [3900 * one], 3900)} == {200}


def test_other_offers_and_none_at_all(client: httpx.Client) -> None:
    socketish = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n"
    ((status, _),) = replies(client, [b"GET /health/live HTTP/1.1\r\nhost: a\r\n" + socketish], 1)
    assert status == 200
    ((status, _),) = replies(client, [b"this is not HTTP\r\n\r\n"], 1)
    assert status == 400
