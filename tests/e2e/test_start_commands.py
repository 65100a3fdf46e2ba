"""One product, however it is started: by our own program, by uvicorn, and by uvicorn with several processes."""

import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.calls import metric
from tests.support.images import SEVEN
from tests.support.paths import ROOT
from tests.support.servers import (
    AUTHORISED,
    Server,
    command,
    environment,
    free_port,
    servers_in,
    uvicorn_command,
)
from tests.support.versions import add, shipped
from tests.support.waiting import TIMEOUT_SECONDS, wait_for

Program = Callable[[int], list[str]]

STARTS: dict[str, tuple[Program, tuple[str, ...]]] = {
    "python -m app": (command, ()),
    "python -m app --workers 2": (command, ("--workers", "2")),
    "uvicorn": (uvicorn_command, ()),
    "uvicorn --workers 2": (uvicorn_command, ("--workers", "2")),
}

# Put on the path of a server, it adds a middleware as somebody who takes the project over would.
SITE = """
import app.main

plain = app.main.create_app


class Seen:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def seen(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-seen", scope["path"].encode())]
            await send(message)

        await self.app(scope, receive, seen if scope["type"] == "http" else send)


def create_app(settings=None):
    made = plain(settings)
    made.add_middleware(Seen)
    return made


app.main.create_app = create_app
"""


@pytest.fixture(scope="module", params=STARTS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("start")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITE)
    models = shipped(folder / "digits")
    add(models, 2)
    (folder / "counts").mkdir()
    program, arguments = STARTS[request.param]
    with servers_in(folder) as start:
        yield start(
            *arguments,
            program=program,
            DIGITS_MODELS=str(models),
            DIGITS_WORKER="external",
            DIGITS_MAX_BODY="1MiB",
            PYTHONPATH=str(folder / "site"),
            # Of all processes: uvicorn's own command tells the counts of one.
            PROMETHEUS_MULTIPROC_DIR=str(folder / "counts"),
        )


def test_a_middleware_sees_every_request(server: Server) -> None:
    paths = ["/", "/docs", "/openapi.json", "/health/live", "/health/ready", "/metrics", "/models", "/jobs", "/nothing"]
    with httpx.Client(base_url=server.url, headers=AUTHORISED) as client:
        for path in [*paths, "/feedback", "/feedback/export", "/models/1", "/jobs/1/events"]:
            assert client.get(path).headers["x-seen"] == path
        for path in ("/predict", "/predict/batch"):
            reply = client.post(path, files={"file": SEVEN})
            assert (reply.status_code, reply.headers["x-seen"]) == (200, path)
        for path in ("/retrain", "/feedback", "/models/9/activate"):
            assert client.post(path).headers["x-seen"] == path
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as line:
        line.sendall(b"nonsense\r\n\r\n")
        refused = b"".join(iter(lambda: line.recv(2000), b""))
    assert refused.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nx-seen: /\r\n" in refused


def test_bad_input_and_limits(server: Server) -> None:
    with httpx.Client(base_url=server.url) as client:
        for reply, status in (
            (client.post("/predict", files={"other": SEVEN}), 422),
            (client.post("/predict", content=b"x", headers={"content-type": "text/plain"}), 415),
            (client.post("/predict", content=bytes(2**21), headers={"content-type": "image/png"}), 413),
            (client.post("/predict", files={"file": SEVEN}, headers={"content-encoding": "gzip"}), 415),
            (client.get("/predict"), 405),
            (client.get("/nothing"), 404),
            (client.post("/retrain"), 401),
            (client.get("/feedback"), 401),
        ):
            assert reply.status_code == status, reply.text
            assert reply.headers["content-type"] == "application/problem+json"
        assert client.post("/predict/", files={"file": SEVEN}).json()["digit"] == 7


def test_another_version_takes_over(server: Server) -> None:
    with httpx.Client(base_url=server.url, headers=AUTHORISED | {"connection": "close"}) as client:
        for number in (2, 1):
            assert client.post(f"/models/{number}/activate").json()["version"] == number

            def all_serve(number: int = number) -> bool:
                replies = [client.post("/predict", files={"file": SEVEN}) for _ in range(20)]
                assert {reply.status_code for reply in replies} == {200}
                return {reply.json()["model"]["version"] for reply in replies} == {number}

            wait_for(all_serve, f"version {number}")


def test_the_end(server: Server, request: pytest.FixtureRequest) -> None:
    """What runs is finished, who asks on an open connection is answered, and nobody else comes in.

    It is the last of the tests with this server.
    """
    replies: list[httpx.Response] = []

    def send() -> None:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            replies.append(client.post("/predict/batch", files=[("file", SEVEN)] * 1000))

    def images() -> float:
        return metric(client.get("/metrics").text, "digits_batch_images_sum")

    # One call: when the network is at work, it has come for sure.
    sender = threading.Thread(target=send)
    with httpx.Client(base_url=server.url) as client:
        before = images()
        sender.start()
        wait_for(lambda: images() > before, "the network at work")
        server.process.terminate()
        sender.join()
        status = server.process.wait(TIMEOUT_SECONDS)
    # uvicorn with one process ends by the signal itself, after all is done.
    assert status == (-signal.SIGTERM if request.node.callspec.params["server"] == "uvicorn" else 0)
    assert [reply.status_code for reply in replies] == [200]
    assert len(replies[0].json()["predictions"]) == 1000
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)


@pytest.mark.parametrize("start", STARTS)
def test_a_wrong_setting_or_version_ends_the_start_with_one_line(start: str, tmp_path: Path) -> None:
    program, arguments = STARTS[start]
    broken = shipped(tmp_path / "digits")
    (broken / "1" / "model.bin").write_bytes(b"")
    wrong = [("DIGITS_MODELS", str(broken), "1/model.bin")]
    if not arguments:  # several processes find the same out in the same place
        wrong.append(("DIGITS_MAX_BODY", "much", "DIGITS_MAX_BODY"))
    for name, value, word in wrong:
        done = subprocess.run(
            [*program(free_port()), *arguments],
            env=environment(**{name: value}),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        # With several processes uvicorn itself ends with 0; that nothing is started again is what counts.
        assert done.returncode != 0 or start == "uvicorn --workers 2", name
        assert "Traceback" not in done.stderr, name
        assert word in done.stderr, name
        assert 1 <= done.stderr.count('"level":"critical"') <= (2 if start == "uvicorn --workers 2" else 1), name
