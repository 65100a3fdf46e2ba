"""More is asked than can be done: what is refused, what is dropped, and what goes on all the same."""

import contextlib
import io
import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from app.api import predictions
from app.api.bodies import MOST_ARRIVING
from app.vision.read import Sight, read_image
from tests.conftest import Server, Start, served
from tests.api.test_bad_input import check
from tests.api.test_predictions import IMAGES, SEVEN, pixels
from tests.api.test_service import metric
from tests.samples import draw, encode

RAW = {"content-type": "application/octet-stream"}

# Grain, of which the scout is not sure: a thousand plain digits are read too soon to do anything meanwhile.
THOUSAND = np.random.default_rng(0).integers(0, 256, (1000, 28, 28), np.uint8).tobytes()


@contextmanager
def busy(server: Server) -> Iterator[list[httpx.Response]]:
    """While the network reads a thousand images; the reply, afterwards."""
    replies: list[httpx.Response] = []
    sender = threading.Thread(
        target=lambda: replies.append(
            httpx.post(f"{server.url}/predict/batch", content=THOUSAND, headers=RAW, timeout=60)
        )
    )
    # One client for all looks: to make one takes as long as many runs of the network.
    with httpx.Client(base_url=server.url) as watching:
        before = runs(watching)
        sender.start()
        while runs(watching) < before + 2:
            time.sleep(0.002)
    yield replies
    sender.join()
    assert [reply.status_code for reply in replies] == [200]
    assert len(replies[0].json()["predictions"]) == 1000


def runs(client: httpx.Client) -> float:
    return metric(client.get("/metrics").text, "digits_batch_images_count")


def test_a_full_queue_refuses_at_once_and_predictions_go_on_after_it(start_server: Start) -> None:
    server = start_server(DIGITS_MAX_WAITING="1", DIGITS_THREADS="1", DIGITS_DEADLINE="60")
    with httpx.Client(base_url=server.url) as client:
        with busy(server):
            reply = client.post("/predict", files={"file": SEVEN})
            check(reply, 503, "try again")
            assert reply.headers["retry-after"] == "1"
            check(client.post("/predict/batch", content=THOUSAND, headers=RAW), 503, "try again")
            assert client.get("/health/ready").is_success
        assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
    assert '"level":"error"' not in server.log.read_text()


def test_a_lone_digit_does_not_wait_for_a_thousand(start_server: Start) -> None:
    server = start_server(DIGITS_THREADS="1")
    with httpx.Client(base_url=server.url) as client, busy(server) as replies:
        for _ in range(3):
            assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
        assert replies == []


def test_large_pictures_have_their_turn_between_those_of_a_batch(start_server: Start) -> None:
    """Both are decoded by the same thread."""
    server = start_server(DIGITS_THREADS="1")
    large, replies = encode(draw(7, (600, 600))), list[httpx.Response]()
    files = [("file", large)] * 300

    def send() -> None:
        replies.append(httpx.post(f"{server.url}/predict/batch", files=files, timeout=60))

    sender = threading.Thread(target=send)
    between = 0
    with httpx.Client(base_url=server.url, timeout=60) as client:
        sender.start()
        while sender.is_alive():
            assert client.post("/predict", files={"file": large}).is_success
            between += not replies
    sender.join()
    assert replies[0].is_success
    assert between > 4


def light_batch() -> bytes:
    """A request with a thousand digits on light ground, 28x28: half a second of reading."""
    light = encode(Image.fromarray(255 - np.array(pixels(), np.uint8)).convert("RGB"))
    request = httpx.Request("POST", "http://digits/predict/batch", files=[("file", light)] * 1000)
    body = request.read()
    head = f"POST /predict/batch HTTP/1.1\r\nhost: a\r\ncontent-type: {request.headers['content-type']}\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def test_lone_digits_have_their_turn_while_a_batch_is_read(start_server: Start) -> None:
    server = start_server(DIGITS_THREADS="1")
    with (
        httpx.Client(base_url=server.url, timeout=60) as client,
        socket.create_connection(("127.0.0.1", server.port)) as one,
    ):
        one.sendall(light_batch())
        between = 0
        while runs(client) == between:  # nothing of the batch has come to the network
            assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
            between += 1
        assert between > 10
        assert one.recv(12) == b"HTTP/1.1 200"


def test_no_more_of_a_batch_is_read_for_a_client_that_hung_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read = 0

    def counting(image: Image.Image) -> Sight:
        nonlocal read
        read += 1
        return read_image(image)

    monkeypatch.setattr(predictions, "read_image", counting)
    with served(tmp_path) as port:
        with socket.create_connection(("127.0.0.1", port)) as one:
            one.sendall(light_batch())
            while not read:
                time.sleep(0.001)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            while 'path="/predict/batch",status="499"' not in client.get("/metrics").text:
                time.sleep(0.01)
    assert read < 900


def test_what_would_come_too_late_is_not_computed(start_server: Start) -> None:
    server = start_server(DIGITS_DEADLINE="0.000001", DIGITS_THREADS="1")
    with httpx.Client(base_url=server.url) as client:
        reply = client.post("/predict/batch", content=THOUSAND, headers=RAW)
        check(reply, 504, "try again")
        assert reply.headers["retry-after"] == "1"
        assert runs(client) == 0
        assert client.post("/predict", files={"file": SEVEN}).is_success  # it waits for nothing


def test_nothing_is_computed_for_a_client_that_hung_up(start_server: Start) -> None:
    server = start_server(DIGITS_THREADS="1", DIGITS_MAX_WAITING="100000")
    head = f"POST /predict/batch HTTP/1.1\r\nhost: a\r\ncontent-type: {RAW['content-type']}\r\n"
    request = f"{head}content-length: {len(THOUSAND)}\r\n\r\n".encode() + THOUSAND
    with busy(server):
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as one:
                one.sendall(request)
                time.sleep(0.02)
    with httpx.Client(base_url=server.url) as client:
        assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
        images = metric(client.get("/metrics").text, "digits_batch_images_sum")
    assert images < 2500  # of 4,001
    assert [line["status"] for line in server.lines() if line.get("path") == "/predict/batch"].count(499) == 3
    assert not re.search('"level":"error"', server.log.read_text())


def test_nothing_is_decoded_for_a_client_that_hung_up(start_server: Start) -> None:
    server = start_server(DIGITS_THREADS="1", DIGITS_DEADLINE="60")
    buffer = io.BytesIO()
    Image.new("L", (5000, 5000), 255).save(buffer, "PNG")
    head = f"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: image/png\r\ncontent-length: {buffer.tell()}\r\n\r\n"
    request = head.encode() + buffer.getvalue()
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for one in clients:
        one.sendall(request)
        one.close()
    with httpx.Client(base_url=server.url, timeout=60) as client:
        assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
        large = client.post("/predict", files={"file": (IMAGES / "three.jpg").read_bytes()})
        assert large.json()["digit"] == 3
    statuses = [line["status"] for line in server.lines() if line.get("path") == "/predict"]
    assert statuses.count(499) >= 15  # the others were in hand already


def test_what_would_be_decoded_too_late_is_not(start_server: Start) -> None:
    server = start_server(DIGITS_DEADLINE="0.000001", DIGITS_THREADS="1")
    with httpx.Client(base_url=server.url) as client:
        check(client.post("/predict", files={"file": (IMAGES / "three.jpg").read_bytes()}), 504, "try again")


def test_bodies_that_stop_half_way_do_not_fill_the_memory(start_server: Start) -> None:
    """And those who send a digit do not wait for them."""
    server = start_server()
    head = f"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: image/png\r\ncontent-length: {5 * 2**20}\r\n\r\n"
    with httpx.Client(base_url=server.url) as client, contextlib.ExitStack() as stack:
        assert client.post("/predict", files={"file": SEVEN}).is_success
        before = server.resident_bytes()
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(50)]
        for one in clients:
            one.sendall(head.encode() + bytes(4 * 2**20))
        refused = [one for one in clients if select.select([one], [], [], 0.2)[0]]
        assert server.resident_bytes() - before < 2 * MOST_ARRIVING  # 200 MiB were sent
        assert 50 - MOST_ARRIVING // 2**20 // 4 <= len(refused) < 45
        for one in refused:
            assert one.recv(2000).startswith(b"HTTP/1.1 503 ")
        assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
        for one in clients:
            one.close()
        # What they took is free again, once the service has seen them leave.
        large = {"file": SEVEN + bytes(4 * 2**20)}
        for _ in range(200):
            if client.post("/predict", files=large).is_success:
                break
            time.sleep(0.05)
        for _ in range(3 * MOST_ARRIVING // 2**22):
            assert client.post("/predict", files=large).is_success
