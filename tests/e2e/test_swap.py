"""Versions change while the service runs, as its users see it."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from app.registry import store
from tests.support.images import SEVEN, pixels
from tests.support.servers import AUTHORISED, Server, Start, servers_in
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


PROCESSES = 3


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """Several server processes and their versions, of which the first serves."""
    folder = tmp_path_factory.mktemp("several")
    models = shipped(folder / "digits")
    add(models, 2)
    with servers_in(folder) as start:
        server = start(
            "--workers", str(PROCESSES), DIGITS_MODELS=str(models), DIGITS_THREADS="1", DIGITS_WORKER="external"
        )
        server.await_processes(PROCESSES)
        yield server, models


def test_every_server_process_goes_over(several: tuple[Server, Path]) -> None:
    server, models = several
    with load(server, models):
        for number in (2, 1):
            store.activate(models, number)
            message = f"version {number} serves"
            wait_for(lambda message=message: server.logged(message) == PROCESSES, message)
            assert named(server, 60) == {number: 60}

        reply = activate(server, 2)  # one process is told, all go
        assert (reply.status_code, reply.json()["version"], reply.json()["serving"]) == (200, 2, True)
        wait_for(lambda: server.logged("version 2 serves") == 2 * PROCESSES, "version 2 once more")
        assert named(server, 60) == {2: 60}


def test_activations_at_once_end_in_agreement(several: tuple[Server, Path]) -> None:
    server, models = several
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda number: activate(server, number), (1, 2) * 4))
    assert [reply.status_code for reply in replies] == [200] * 8
    current = store.current(models)
    wait_for(lambda: named(server, 40) == {current: 40}, "agreement")
    # And it stays so: once all have followed another change, they have looked again.
    other = 3 - current
    store.activate(models, other)
    wait_for(lambda: named(server, 40) == {other: 40}, "the other version")
    assert store.current(models) == other


def test_a_dozen_swaps_under_load_lose_nothing(start_server: Start, models: Path) -> None:
    server = start_server(DIGITS_MODELS=str(models), DIGITS_THREADS="2", DIGITS_WORKER="external")
    tasks = Path(f"/proc/{server.process.pid}/task")
    with load(server, models, clients=2) as state:
        for number in (2, 1) * 3:  # until all that is ever needed is there
            assert activate(server, number).status_code == 200
        threads, memory = len(list(tasks.iterdir())), server.resident_bytes()
        for number in (2, 1) * 6:
            before = state.seen[number]
            assert activate(server, number).status_code == 200
            wait_for(lambda number=number, before=before: state.seen[number] > before, "a reply")
        wait_for(lambda: len(list(tasks.iterdir())) <= threads + 2, "threads that end")
        assert server.resident_bytes() < memory + 30_000_000
    assert min(state.seen.values()) >= 9
    assert '"level":"error"' not in server.log.read_text()
