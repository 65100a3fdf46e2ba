"""Versions change while the service runs, as its users see it."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from app.registry import store
from tests.support.calls import check
from tests.support.images import SEVEN, pixels
from tests.support.servers import AUTHORISED, STARTED, Server, Start
from tests.support.versions import add, answer, shipped
from tests.support.waiting import wait_for

IMAGE = np.array(pixels(), np.uint8)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    models = shipped(tmp_path / "digits")
    add(models, 2)
    return models


def named(server: Server, connections: int = 1) -> Counter[int]:
    """The versions that new connections meet; with several server processes each may meet another."""
    with httpx.Client(headers={"connection": "close"}) as client:
        replies = [client.get(f"{server.url}/health/ready") for _ in range(connections)]
    assert {reply.status_code for reply in replies} == {200}
    return Counter(reply.json()["model"]["version"] for reply in replies)


def activate(server: Server, version: int) -> httpx.Response:
    return httpx.post(f"{server.url}/models/{version}/activate", headers=AUTHORISED, timeout=60)


@dataclass
class Load:
    """What concurrent clients got back."""

    expected: dict[int, NDArray[np.float32]]
    seen: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, url: str) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not self.over.is_set():
                try:
                    reply = client.post("/predict", content=SEVEN, headers={"content-type": "image/png"})
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    continue
                if reply.status_code != 200:
                    self.failures.append(reply.text)
                    continue
                found = reply.json()
                version = found["model"]["version"]
                self.seen[version] += 1
                if not np.allclose(found["probabilities"], self.expected[version], atol=1e-5):
                    self.failures.append(f"version {version} said {found['probabilities']}")


@contextmanager
def load(server: Server, models: Path, clients: int = 4) -> Iterator[Load]:
    """Clients that ask without a pause until the block ends; not one may fail."""
    state = Load({number: answer(models, number, IMAGE) for number in (1, 2)})
    assert np.abs(state.expected[1] - state.expected[2]).max() > 0.01
    threads = [threading.Thread(target=state.run, args=[server.url]) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield state
    finally:
        state.over.set()
        for thread in threads:
            thread.join()
    assert state.failures == []


def test_every_server_process_goes_over(start_server: Start, models: Path) -> None:
    server = start_server("--workers", "4", DIGITS_MODELS=str(models), DIGITS_THREADS="1")
    wait_for(lambda: server.logged(STARTED) == 4, "four processes")
    with load(server, models):
        for swaps, number in enumerate((2, 1), start=1):
            store.activate(models, number)
            message = f"version {number} serves"
            wait_for(lambda message=message: server.logged(message) == 4, message)
            assert named(server, 60) == {number: 60}, swaps

        reply = activate(server, 2)  # one process is told, all go
        assert (reply.status_code, reply.json()["version"], reply.json()["serving"]) == (200, 2, True)
        wait_for(lambda: server.logged("version 2 serves") == 8, "version 2 once more")
        assert named(server, 60) == {2: 60}


def test_activations_at_once_end_in_agreement(start_server: Start, models: Path) -> None:
    server = start_server("--workers", "3", DIGITS_MODELS=str(models), DIGITS_THREADS="1")
    wait_for(lambda: server.logged(STARTED) == 3, "three processes")
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda number=number: statuses.append(activate(server, number).status_code))
        for number in (1, 2) * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8
    current = store.current(models)
    wait_for(lambda: named(server, 40) == {current: 40}, "agreement")
    time.sleep(1)  # and it stays so
    assert named(server, 40) == {current: 40}
    assert store.current(models) == current


def test_thirty_swaps_under_load_lose_nothing(start_server: Start, models: Path) -> None:
    server = start_server(DIGITS_MODELS=str(models), DIGITS_THREADS="2")
    tasks = Path(f"/proc/{server.process.pid}/task")
    with load(server, models) as state:
        for number in (2, 1) * 3:  # until all that is ever needed is there
            assert activate(server, number).status_code == 200
        threads, memory = len(list(tasks.iterdir())), server.resident_bytes()
        for number in (2, 1) * 15:
            before = state.seen[number]
            assert activate(server, number).status_code == 200
            wait_for(lambda number=number, before=before: state.seen[number] > before, "a reply")
        wait_for(lambda: len(list(tasks.iterdir())) <= threads + 2, "threads that end")
        assert server.resident_bytes() < memory + 30_000_000
    assert min(state.seen.values()) > 30
    assert '"level":"error"' not in server.log.read_text()


def test_an_upload_that_takes_long_is_answered_by_the_version_that_it_met(start_server: Start, models: Path) -> None:
    server = start_server(DIGITS_MODELS=str(models))

    def slowly() -> Iterator[bytes]:
        yield SEVEN[:100]
        wait_for(lambda: "version" in httpx.get(f"{server.url}/health/ready").text, "that it is under way")
        for number in (2, 1, 2):
            assert activate(server, number).status_code == 200
        yield SEVEN[100:]

    headers = {"content-type": "image/png", "x-request-id": "slow"}
    reply = httpx.post(f"{server.url}/predict", content=slowly(), headers=headers, timeout=60).json()
    assert reply["model"]["version"] == 1
    assert np.allclose(reply["probabilities"], answer(models, 1, IMAGE), atol=1e-5)
    assert named(server) == {2: 1}
    server.stop()
    assert [line["version"] for line in server.lines() if line.get("request_id") == "slow"] == [1]


def test_activation(start_server: Start, models: Path) -> None:
    server = start_server(DIGITS_MODELS=str(models))
    with httpx.Client(base_url=server.url, headers=AUTHORISED, timeout=60) as client:
        for number in (2, 2, 1):  # one that serves already is fine
            reply = client.post(f"/models/{number}/activate")
            assert reply.status_code == 200
            listed = client.get("/models").json()["models"]
            assert reply.json() == next(model for model in listed if model["serving"])
            assert reply.json()["version"] == store.current(models) == number
        check(client.post("/models/3/activate"), 404, "3", "1, 2")
        check(client.post("/models/-1/activate"), 422, "version")
        check(client.post(f"/models/{'9' * 400}/activate"), 422, "version")
        client.headers.pop("authorization")
        check(client.post("/models/2/activate"), 401)
        assert store.current(models) == 1
