"""The short way to an answer: the same answers, and whatever cannot go it goes the application's way."""

import asyncio
import base64
import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
import uvicorn
import uvloop
from numpy.typing import NDArray

from app.http.express import MOST, Express
from app.http.protocol import SOON, Call, Http
from app.http.uploads import RAW
from app.inference.engine import OpenVinoEngine
from app.main import create_app
from app.server import Server
from app.settings import Settings
from tests.conftest import Start, free_port
from tests.http.test_predictions import SEVEN, pixels
from tests.samples import draw, encode, handwritten
from tests.versions import SHIPPED

Json = dict[str, Any]


class Counted:
    """The application, and how many requests for predictions it was asked to answer itself."""

    def __init__(self, threads: int, state: Path, **settings: Any) -> None:
        self.port, self.asked = free_port(), 0
        self._app = create_app(
            Settings(models=SHIPPED, state=state, worker="external", threads=threads, **settings)  # type: ignore[call-arg]
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += scope["type"] == "http" and scope["path"] == "/predict"
        await self._app(scope, receive, send)


class Service(NamedTuple):
    """One that runs."""

    app: Counted
    client: httpx.Client

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.app.port), timeout=20)


@contextmanager
def serving(app: Counted) -> Iterator[httpx.Client]:
    server = Server(uvicorn.Config(app, port=app.port, http=Http, log_config=None))

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(server.serve())

    thread = threading.Thread(target=run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{app.port}", timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module", params=[1, 2], ids=["on the loop", "beside it"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Whether lone images alone are for the event loop, or all, is a matter of threads."""
    app = Counted(request.param, tmp_path_factory.mktemp("state"))
    with serving(app) as client:
        yield Service(app, client)


def post(content: bytes, content_type: str = "image/png", *headers: str, path: str = "/predict") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: a", f"content-type: {content_type}", f"content-length: {len(content)}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + content


def replies(line: socket.socket, count: int) -> list[tuple[str, dict[str, str], Json]]:
    """So many of them, in order: the first line, the headers, and what the JSON says."""
    found, file = [], line.makefile("rb")
    for _ in range(count):
        status = file.readline().decode().strip()
        headers: dict[str, str] = {}
        while header := file.readline().decode().strip():
            name, _, value = header.partition(": ")
            assert name not in headers
            headers[name] = value
        found.append((status, headers, json.loads(file.read(int(headers["content-length"])))))
    return found


def digits() -> list[NDArray[np.uint8]]:
    """The network is sure of most, recognises nothing in some, and wants to see some others again."""
    random = np.random.default_rng(5)
    images = [handwritten(number % 10, random) for number in range(40)]
    light, aside, blank = 255 - images[3], np.roll(images[6], 5, 1), np.zeros((28, 28))
    noise = random.integers(0, 256, (28, 28))
    box = np.zeros((28, 28))
    box[4:24, 4:24] = 200
    between = [(images[number] // 2 + images[number + 1] // 2) for number in range(10)]
    return [np.asarray(image, np.uint8) for image in (*images, light, aside, blank, noise, box, *between)]


def test_the_answers_are_those_of_the_application(service: Service) -> None:
    contents = [encode(image) for image in digits()]
    reasons, asked = set(), service.app.asked
    with service.connect() as line:
        for content in contents:
            line.sendall(post(content, "image/png", "x-request-id: mine"))
            ((status, headers, said),) = replies(line, 1)
            reasons.add(said["reason"])
            line.sendall(post(content, "image/png", "x-request-id: mine", path="/predict?strict=false"))
            ((other_status, other_headers, other),) = replies(line, 1)
            del headers["date"], other_headers["date"]
            assert (status, headers) == (other_status, other_headers)
            assert list(headers) == list(other_headers)
            assert said == other
    assert {None, "no_digit", "blank"} <= reasons
    assert len(contents) <= service.app.asked - asked < 1.5 * len(contents)  # where it is unsure at a glance, twice


@pytest.mark.parametrize(
    ("form", "short"),
    [
        ({"files": {"file": SEVEN}}, True),
        ({"content": SEVEN, "headers": {"content-type": "image/png"}}, True),
        ({"content": SEVEN, "headers": {"content-type": "image/jpeg"}}, True),  # the bytes decide
        ({"json": {"image": base64.b64encode(SEVEN).decode()}}, True),
        ({"json": {"pixels": pixels()}}, True),
        ({"content": np.array(pixels(), np.uint8).tobytes(), "headers": {"content-type": RAW}}, True),
        ({"content": bytes(783), "headers": {"content-type": RAW}}, False),
        ({"files": {"file": encode(draw(7, (28, 28)), "BMP")}}, False),
        ({"files": {"file": encode(draw(7), "PNG")}}, False),
        ({"files": {"file": encode(draw(7, (28, 28)))}}, False),  # in colours
        ({"files": {"file": b"no picture"}}, False),
        ({"files": {"other": SEVEN}}, False),
        ({"content": SEVEN, "headers": {"content-type": "text/plain"}}, False),
        ({"content": SEVEN, "headers": {"content-type": "image/png", "connection": "close"}}, False),
        ({"content": SEVEN, "headers": {"content-type": "image/png", "expect": "100-continue"}}, False),
        ({"content": [SEVEN], "headers": {"content-type": "image/png"}}, False),  # chunked
    ],
)
def test_which_way_they_go(service: Service, form: Json, short: bool) -> None:
    asked = service.app.asked
    reply = service.client.post("/predict", **form)
    assert service.app.asked - asked == (0 if short else 1)
    assert not short or reply.json()["digit"] == 7


def test_many_at_once_are_each_told_their_own(service: Service) -> None:
    contents = [encode(handwritten(number % 10, np.random.default_rng(number))) for number in range(5 * MOST)]
    with ExitStack() as stack:
        lines = [stack.enter_context(service.connect()) for _ in contents]
        alone = []
        for content in contents:
            lines[0].sendall(post(content))
            alone += replies(lines[0], 1)
        for line, content in zip(lines, contents, strict=True):
            line.sendall(post(content))
        for line, (expected_status, _, expected) in zip(lines, alone, strict=True):
            ((status, _, said),) = replies(line, 1)
            assert (status, expected_status) == ("HTTP/1.1 200 OK",) * 2
            assert said["digit"] == expected["digit"]
            assert said["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-4)


OTHER = encode(handwritten(3, np.random.default_rng(2)))


def test_one_after_the_other_without_waiting(service: Service) -> None:
    """Replies come in the order of the requests, whichever way each goes."""
    get = b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n"
    with service.connect() as line:
        line.sendall(post(SEVEN) + get + post(OTHER) + post(SEVEN) + post(b"none") + post(OTHER))
        found = [said for _, _, said in replies(line, 6)]
        assert found[1] == {"status": "alive"}
        assert [said.get("digit") for said in found] == [7, None, 3, 7, None, 3]
        assert found[4]["status"] == 422
        line.sendall(post(SEVEN))  # the connection goes on
        assert replies(line, 1)[0][2]["digit"] == 7


@pytest.mark.parametrize("cut", [5, len(post(SEVEN)) - len(SEVEN), len(post(SEVEN)) - 9])
@pytest.mark.parametrize("pause", [0.02, 2 * SOON])
def test_in_pieces(service: Service, cut: int, pause: float) -> None:
    request = post(SEVEN)
    with service.connect() as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2):
            line.sendall(request[:cut])
            time.sleep(pause)
            line.sendall(request[cut:] + b"\r\n")  # an empty line between requests is none
            assert replies(line, 1)[0][2]["digit"] == 7


def test_who_hangs_up_is_counted(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    def count() -> float:
        lines = service.client.get("/metrics").text.splitlines()
        mine = (line for line in lines if line.startswith("digits_requests_total{") and '"/predict"' in line)
        return sum(float(line.split()[-1]) for line in mine)

    before = count()
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            with service.connect() as line:
                line.sendall(post(SEVEN))
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
        while count() < before + 20:
            time.sleep(0.01)
    assert count() == before + 20
    assert not caplog.records


def test_an_engine_that_fails_is_told_of_as_ever(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(OpenVinoEngine, "predict", lambda *_: 1 / 0)
        reply = service.client.post("/predict", files={"file": SEVEN})
        assert (reply.status_code, reply.json()["title"]) == (500, "Internal Server Error")
    assert service.client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7


def test_what_has_waited_too_long_is_for_the_application_to_judge(tmp_path: Path) -> None:
    app = Counted(1, tmp_path, deadline=1e-6)
    with serving(app) as client:
        assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7  # alone it waited for nothing
    assert app.asked == 1


def test_the_log_has_the_same_lines(start_server: Start) -> None:
    server = start_server()
    with httpx.Client(base_url=server.url) as client:
        client.post("/predict", files={"file": SEVEN}, headers={"x-request-id": "short"})
        client.post("/predict?strict=false", files={"file": SEVEN}, headers={"x-request-id": "long"})
    server.stop()
    short, long = (line for line in server.lines() if line.get("request_id") in ("short", "long"))
    assert list(short) == list(long)
    for line in (short, long):
        del line["time"], line["duration_ms"], line["request_id"]
    assert short == long


@contextmanager
def connection_to_the_end(app: Counted) -> Iterator[socket.socket]:
    """Of a service that is told to end, and has ended, when what is done with the connection is done."""
    with serving(app) as client:
        yield Service(app, client).connect()


def test_a_request_on_its_way_is_answered_when_the_service_ends(tmp_path: Path) -> None:
    with connection_to_the_end(Counted(1, tmp_path)) as line:
        line.sendall(post(SEVEN))
        time.sleep(0.1)
        line.sendall(post(OTHER))
    with line:
        assert [said["digit"] for _, _, said in replies(line, 2)] == [7, 3]


def test_a_reply_that_the_end_of_the_service_overtakes_is_the_connection_s_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, take = threading.Event(), Express.take

    def late(self: Express, call: Call) -> None:
        taken.set()
        asyncio.get_running_loop().call_later(0.4, take, self, call)  # the end begins before, and lasts half a second

    monkeypatch.setattr(Express, "take", late)
    with connection_to_the_end(Counted(1, tmp_path)) as line:
        line.sendall(post(SEVEN))
        assert taken.wait(20)
    with line:
        ((_, headers, said),) = replies(line, 1)
        assert (headers.get("connection"), said["digit"]) == ("close", 7)
        assert line.recv(1) == b""
