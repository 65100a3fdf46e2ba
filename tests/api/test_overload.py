"""More is asked than can be done: what is refused, what is dropped, and what goes on all the same."""

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.api import predictions
from app.api.bodies import MAX_ARRIVING_BYTES
from app.inference.batcher import CONGESTED_RUNS
from app.inference.engine import OpenVinoEngine
from app.inference.ensemble import LARGE_BATCH_SIZES
from app.vision.pipeline import PreprocessedImage, preprocess_picture
from tests.support.calls import RAW, check, metric
from tests.support.images import SEVEN, draw, encode, pixels
from tests.support.paths import IMAGES
from tests.support.servers import Start, served
from tests.support.waiting import TIMEOUT_SECONDS, wait_for

# More than may wait before clients are watched, of grain, which the first stage of the network leaves undecided.
MANY = CONGESTED_RUNS * LARGE_BATCH_SIZES[-1] + 1
GRAIN = np.random.default_rng(0).integers(0, 256, (MANY, 28, 28), np.uint8).tobytes()

LARGE = encode(draw(7, (600, 600)))  # decoded in a thread


@contextlib.contextmanager
def service(state: Path, **settings: Any) -> Iterator[httpx.Client]:
    """The service in this process, with one thread to decode, time enough, and these settings."""
    settings = {"threads": 1, "deadline": 2 * TIMEOUT_SECONDS} | settings
    with served(state, **settings) as client:
        yield client


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=TIMEOUT_SECONDS)


def message(path: str, content_type: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def count(client: httpx.Client, path: str, status: int) -> float:
    """Requests that were answered with this status."""
    name = f'digits_requests_total{{method="POST",path="{path}",status="{status}"}}'
    return metric(client.get("/metrics").text, name)


def images(client: httpx.Client) -> float:
    """How many the first stage of the network has seen."""
    return metric(client.get("/metrics").text, "digits_batch_images_sum")


class Network:
    """Stands for the later stages of the network, which run in a thread. It answers when it is let go, and at once.

    Attributes:
        images: That it has seen.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.open, self.images = threading.Event(), threading.Event(), 0
        run = OpenVinoEngine._run

        def gated(engine: OpenVinoEngine, images: Any) -> Any:
            if threading.current_thread().name.startswith("inference"):
                self.images += len(images)
                self.begun.set()
                assert self.open.wait(TIMEOUT_SECONDS)
                return np.full((len(images), 10), 0.1, np.float32)
            return run(engine, images)

        monkeypatch.setattr(OpenVinoEngine, "_run", gated)

    @contextlib.contextmanager
    def busy(self, client: httpx.Client) -> Iterator[Callable[[], bool]]:
        """While the network reads many images. It is done with them afterwards, if it is not let go before.

        Yields:
            Tells whether they have been answered.
        """
        with ThreadPoolExecutor(1) as sender:
            sent = sender.submit(client.post, "/predict/batch", content=GRAIN, headers=RAW)
            try:
                assert self.begun.wait(TIMEOUT_SECONDS)
                yield sent.done
            finally:
                self.open.set()
            assert sent.result().status_code == 200
            assert len(sent.result().json()["predictions"]) == MANY


def test_a_full_queue_refuses_at_once_and_predictions_go_on_after_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = Network(monkeypatch)
    with service(tmp_path, max_waiting=1) as client:
        with network.busy(client) as is_answered:
            reply = client.post("/predict", files={"file": SEVEN})
            check(reply, 503, "try again")
            assert reply.headers["retry-after"] == "1"
            check(client.post("/predict/batch", content=GRAIN, headers=RAW), 503, "try again")
            assert client.get("/health/ready").is_success
            assert not is_answered()
        assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_lone_digit_does_not_wait_for_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network = Network(monkeypatch)
    with service(tmp_path) as client, network.busy(client) as is_answered:
        for _ in range(3):
            assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
        assert not is_answered()


def test_large_pictures_have_their_turn_between_those_of_a_batch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both are decoded by the same thread."""
    alone = encode(draw(7, (601, 601)))
    reading, come, answered = threading.Event(), threading.Event(), threading.Event()
    order: list[int] = []
    open_image = predictions.open_image

    def opened(content: bytes, *arguments: Any) -> Image.Image:
        if content == alone:
            come.set()
        return open_image(content, *arguments)

    def read(image: Image.Image) -> PreprocessedImage:
        order.append(image.width)
        if len(order) == 3:
            reading.set()
            assert come.wait(TIMEOUT_SECONDS)
        if len(order) == 6:
            assert answered.wait(TIMEOUT_SECONDS), order  # in vain where all of the batch come first
        return preprocess_picture(image)

    monkeypatch.setattr(predictions, "open_image", opened)
    monkeypatch.setattr(predictions, "preprocess_picture", read)
    with service(tmp_path) as client, ThreadPoolExecutor(1) as sender:
        batch = sender.submit(client.post, "/predict/batch", files=[("file", LARGE)] * 10)
        assert reading.wait(TIMEOUT_SECONDS)
        assert client.post("/predict", files={"file": alone}).json()["digit"] == 7
        answered.set()
        assert [reading["digit"] for reading in batch.result().json()["predictions"]] == [7] * 10
    assert order.index(601) < 6


def light_batch() -> bytes:
    """A request with a thousand digits on a light background, 28x28, which are read on the event loop."""
    light = encode(Image.fromarray(255 - np.array(pixels(), np.uint8)).convert("RGB"))
    request = httpx.Request("POST", "http://digits/predict/batch", files=[("file", light)] * 1000)
    return message("/predict/batch", request.headers["content-type"], request.read())


class SlowReading:
    """Reads pictures slowly until it is told to go on.

    Attributes:
        count: Pictures that were read.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.go_on = 0, threading.Event()
        monkeypatch.setattr(predictions, "preprocess_picture", self)

    def __call__(self, image: Image.Image) -> PreprocessedImage:
        self.count += 1
        if not self.go_on.is_set():
            time.sleep(0.02)  # a thousand of them take 20 seconds
        return preprocess_picture(image)


def test_lone_digits_have_their_turn_while_a_batch_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reading = SlowReading(monkeypatch)
    with service(tmp_path) as client, connect(client) as one:
        one.sendall(light_batch())
        wait_for(lambda: reading.count > 0, "the batch")
        for _ in range(3):
            assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
        assert reading.count < 1000
        reading.go_on.set()
        assert one.recv(12) == b"HTTP/1.1 200"
    assert reading.count == 1000


def test_no_more_of_a_batch_is_read_for_a_client_that_hung_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    reading = SlowReading(monkeypatch)
    with service(tmp_path) as client:
        with connect(client) as one:
            one.sendall(light_batch())
            wait_for(lambda: reading.count > 0, "the batch")
        wait_for(lambda: count(client, "/predict/batch", 499) == 1, "the service to notice")
        assert reading.count < 1000
        assert images(client) == 0


def test_nothing_is_computed_for_a_client_that_hung_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = Network(monkeypatch)
    with service(tmp_path) as client:
        with network.busy(client):
            sent: list[socket.socket] = []
            for _ in range(3):
                with connect(client) as one:
                    one.sendall(message("/predict/batch", RAW["content-type"], GRAIN))
                    sent.append(one)
                    wait_for(lambda: images(client) == (1 + len(sent)) * MANY, "the first stage of the network")
            wait_for(lambda: count(client, "/predict/batch", 499) == 3, "the service to notice")
        seen = network.images
        client.post("/predict/batch", content=GRAIN, headers=RAW).raise_for_status()
        alone = network.images - seen
    assert alone > MANY / 2
    assert seen < 1.5 * alone
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_nothing_is_decoded_for_a_client_that_hung_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    opened, decoded, go_on = 0, 0, threading.Event()
    open_image = predictions.open_image

    def counting(*arguments: Any) -> Image.Image:
        nonlocal opened
        opened += 1
        return open_image(*arguments)

    def read(image: Image.Image) -> PreprocessedImage:
        nonlocal decoded
        decoded += 1
        assert go_on.wait(TIMEOUT_SECONDS)
        return preprocess_picture(image)

    monkeypatch.setattr(predictions, "open_image", counting)
    monkeypatch.setattr(predictions, "preprocess_picture", read)
    with service(tmp_path) as client, contextlib.ExitStack() as stack:
        stack.callback(go_on.set)
        clients: list[socket.socket] = []
        for _ in range(10):
            clients.append(stack.enter_context(connect(client)))
            clients[-1].sendall(message("/predict", "image/png", LARGE))
            wait_for(lambda: opened == len(clients), "the picture")
        for one in clients:
            one.close()
        # The first one is in hand, and the second one's turn is next. Only clients behind them are watched.
        wait_for(lambda: count(client, "/predict", 499) == 8, "the service to notice")
        go_on.set()
        assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
        assert client.post("/predict", files={"file": (IMAGES / "three.jpg").read_bytes()}).json()["digit"] == 3
    assert decoded == 2 + 1


def test_what_would_come_too_late_is_not_computed(tmp_path: Path) -> None:
    with service(tmp_path, deadline=0.000001) as client:
        for reply in (
            client.post("/predict", files={"file": SEVEN}),
            client.post("/predict", files={"file": (IMAGES / "three.jpg").read_bytes()}),  # decoded in a thread
            client.post("/predict/batch", content=bytes(3 * 784), headers=RAW),
            client.post("/predict/batch", content=GRAIN, headers=RAW),  # parsed in a thread
        ):
            check(reply, 504, "try again")
            assert reply.headers["retry-after"] == "1"
        assert images(client) == 0


def test_bodies_that_stop_half_way_do_not_fill_the_memory(start_server: Start) -> None:
    """And those who send a digit do not wait for them."""
    server = start_server()
    sent = 4 * 2**20
    fit = MAX_ARRIVING_BYTES // sent
    half = message("/predict", "image/png", bytes(5 * 2**20))[:sent]
    with httpx.Client(base_url=server.url, timeout=TIMEOUT_SECONDS) as client, contextlib.ExitStack() as stack:
        assert client.post("/predict", files={"file": SEVEN}).is_success
        before = server.resident_bytes()
        clients = [stack.enter_context(connect(client)) for _ in range(50)]
        for one in clients:
            one.sendall(half)
        wait_for(lambda: count(client, "/predict", 503) >= 50 - fit, "as many to be refused as do not fit")
        assert server.resident_bytes() - before < 2 * MAX_ARRIVING_BYTES  # 200 MiB were sent
        for one in select.select(clients, [], [], 0)[0]:
            assert one.recv(2000).startswith(b"HTTP/1.1 503 ")
        assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
        for one in clients:
            one.close()
        wait_for(lambda: count(client, "/predict", 503) + count(client, "/predict", 499) == 50, "all to have left")
        assert count(client, "/predict", 503) <= 50 - fit + 2  # as many go on as fit
        # What they took is free again.
        large = {"file": SEVEN + bytes(sent)}
        for _ in range(3 * fit):
            assert client.post("/predict", files=large).is_success
