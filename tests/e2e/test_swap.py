"""Versions change while the service runs, as its users see it."""

import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from app.registry import store
from tests.support.calls import check, metric
from tests.support.damage import Damage, empty, flip_bit, halve, lengthen, remove
from tests.support.images import SEVEN, pixels
from tests.support.servers import AUTHORISED, STARTED, Server, Start, servers_in
from tests.support.versions import add, answer, describe, point, shipped
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


def taken_from_another(*names: str) -> Damage:
    def damage(version: Path) -> None:
        for name in names:
            shutil.copy(version.parent / "1" / name, version / name)

    return damage


def another_source(version: Path) -> None:
    """Right digests throughout, but a graph that was made from another model.keras."""
    graph, source = version / store.GRAPH, store.read_manifest(version).files[store.KERAS]
    graph.write_text(graph.read_text().replace(source, "0" * 64))
    describe(version)


def nonsense_graph(version: Path) -> None:
    """Right digests throughout, and nothing that the runtime can read."""
    (version / store.GRAPH).write_text("<net>hello</net>")
    describe(version)


def other_input(version: Path) -> None:
    """Right digests and source, but a graph that takes no 28x28 images."""
    graph = version / store.GRAPH
    text = graph.read_text()
    assert 'shape="?,28,28,1"' in text
    graph.write_text(text.replace('shape="?,28,28,1"', 'shape="?,27,28,1"'))
    describe(version)


def no_numbers(version: Path) -> None:
    """Right digests and source, but weights that are no numbers."""
    (version / store.WEIGHTS).write_bytes(b"\xff" * (version / store.WEIGHTS).stat().st_size)
    describe(version)


def without_digest(version: Path) -> None:
    manifest = json.loads((version / store.MANIFEST).read_text())
    del manifest["files"][store.WEIGHTS]
    (version / store.MANIFEST).write_text(json.dumps(manifest))


FILES = (store.KERAS, store.GRAPH, store.WEIGHTS, store.MANIFEST)
DAMAGES: dict[str, Damage] = {
    **{f"{name} missing": remove(name) for name in FILES},
    **{f"{name} empty": empty(name) for name in FILES},
    **{f"{name} halved": halve(name) for name in FILES},
    **{f"{name} longer": lengthen(name) for name in FILES[:3]},
    **{f"{name} flipped at {share}": flip_bit(name, share) for name in FILES[:3] for share in (0, 0.31, 0.77, 1)},
    "model.keras flipped in the middle": flip_bit(store.KERAS),
    "card's brace flipped": flip_bit(store.MANIFEST, 0),
    "another version's network": taken_from_another(store.WEIGHTS, store.GRAPH),
    "another version's card": taken_from_another(store.MANIFEST),
    "another version's all": taken_from_another(*FILES),
    "another number": lambda version: describe(version, version=7),
    "a graph from another network": another_source,
    "a graph that is none": nonsense_graph,
    "a graph for other images": other_input,
    "weights that are no numbers": no_numbers,
    "no digest of the weights": without_digest,
    "no folder": lambda version: shutil.rmtree(version),
    "a file for a folder": lambda version: (shutil.rmtree(version), version.write_text("x"), None)[-1],
    "a folder for a file": lambda version: (
        (version / store.WEIGHTS).unlink(),
        (version / store.WEIGHTS).mkdir(),
        None,
    )[-1],
}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """One server for all damages, and its versions, of which the first is sound."""
    folder = tmp_path_factory.mktemp("damaged")
    models = shipped(folder / "digits")
    with servers_in(folder) as start:
        yield start(DIGITS_MODELS=str(models)), models


@pytest.fixture(scope="module")
def sound(damaged: tuple[Server, Path]) -> NDArray[np.float32]:
    """What the first version says, whatever becomes of the second."""
    return answer(damaged[1], 1, IMAGE)


def fault(server: Server) -> dict[str, Any] | None:
    found = httpx.get(f"{server.url}/models").json()["fault"]
    assert found is None or list(found) == ["version", "reason"]
    return found  # type: ignore[no-any-return]


def recovers(server: Server, models: Path) -> None:
    """With a sound version that is not the one before."""
    add(models, 3)
    point(models, "3\n")
    wait_for(lambda: named(server) == {3: 1}, "recovery")
    point(models, "1\n")
    wait_for(lambda: named(server) == {1: 1}, "the first version")
    shutil.rmtree(models / "3")
    assert fault(server) is None
    assert metric(httpx.get(f"{server.url}/metrics").text, "digits_model_behind") == 0


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_version_is_never_served(damaged: tuple[Server, Path], sound: NDArray[np.float32], name: str) -> None:
    server, models = damaged
    version = add(models, 2)
    try:
        DAMAGES[name](version)
        failures = metric(httpx.get(f"{server.url}/metrics").text, "digits_model_load_failures_total")
        point(models, "2\n")
        wait_for(lambda: fault(server) is not None, "the fault")
        found = fault(server)
        assert found
        assert found["version"] == 2
        assert found["reason"].startswith("2/")
        assert str(models.parent) not in found["reason"]
        metrics = httpx.get(f"{server.url}/metrics").text
        assert metric(metrics, "digits_model_behind") == 1
        assert metric(metrics, "digits_model_load_failures_total") == failures + 1
        assert metric(metrics, 'digits_model_version{name="digits"}') == 1
        assert named(server) == {1: 1}
        reply = httpx.post(f"{server.url}/predict", files={"file": SEVEN}).json()
        assert reply["model"]["version"] == 1
        assert np.allclose(reply["probabilities"], sound, atol=1e-5)
        assert server.log.read_text().count(f"goes on serving: {models}/{found['reason']}") >= 1
        point(models, "1\n")
        wait_for(lambda: fault(server) is None, "that all is well")
        # Asked for by name it is refused as well, and stays where it was.
        if version.is_dir():
            problem = check(activate(server, 2), 409, found["reason"])
            assert problem["type"] == "urn:digits:problem:version-unusable"
        else:
            check(activate(server, 2), 404, "2")
        assert store.current(models) == 1
        assert named(server) == {1: 1}
    finally:
        point(models, "1\n")
        shutil.rmtree(version, ignore_errors=True)
        version.unlink(missing_ok=True)
    if name.endswith(("missing", "none", "folder")):
        recovers(server, models)


@pytest.mark.parametrize("content", ["", "\n", "two\n", "-1", "1.0", "01", "9" * 5000, "²", "../1", "99\n"])
def test_nonsense_in_current(damaged: tuple[Server, Path], content: str) -> None:
    server, models = damaged
    point(models, content)
    wait_for(lambda: fault(server) is not None, "the fault")
    found = fault(server)
    assert found
    assert found["version"] == (99 if content == "99\n" else None)
    assert found["reason"].startswith("99/card.json" if content == "99\n" else "CURRENT")
    assert str(models.parent) not in found["reason"]
    assert named(server) == {1: 1}
    point(models, "1\n")
    wait_for(lambda: fault(server) is None, "that all is well")


def test_current_is_missing_or_no_file(damaged: tuple[Server, Path]) -> None:
    server, models = damaged
    (models / store.CURRENT).unlink()
    wait_for(lambda: fault(server) is not None, "the fault")
    (models / store.CURRENT).mkdir()
    reply = activate(server, 1)  # it cannot be replaced then
    problem = check(reply, 503, "CURRENT")
    assert problem["type"] == "urn:digits:problem:models-not-writable"
    assert str(models.parent) not in reply.text
    assert "Traceback" not in server.log.read_text()
    assert named(server) == {1: 1}
    (models / store.CURRENT).rmdir()
    assert activate(server, 1).status_code == 200
    assert fault(server) is None


def test_a_version_that_is_mended_serves(damaged: tuple[Server, Path]) -> None:
    server, models = damaged
    version = add(models, 2)
    weights = (version / store.WEIGHTS).read_bytes()
    (version / store.WEIGHTS).write_bytes(weights[:-1])
    point(models, "2\n")
    wait_for(lambda: fault(server) is not None, "the fault")
    before = server.log.read_text().count("goes on serving")
    time.sleep(1)
    assert server.log.read_text().count("goes on serving") == before  # not at every look
    (version / store.WEIGHTS).write_bytes(weights)
    wait_for(lambda: named(server) == {2: 1}, "the mended version")
    assert fault(server) is None

    # Damage to what serves by now is told, and touches nothing that runs.
    os.truncate(version / store.WEIGHTS, 0)
    wait_for(lambda: fault(server) is not None, "the fault")
    reply = httpx.post(f"{server.url}/predict", files={"file": SEVEN}).json()
    assert reply["model"]["version"] == 2
    (version / store.WEIGHTS).write_bytes(weights)
    wait_for(lambda: fault(server) is None, "that all is well")
    assert np.allclose(reply["probabilities"], answer(models, 2, IMAGE), atol=1e-5)
    point(models, "1\n")
    wait_for(lambda: named(server) == {1: 1}, "the first version")
    shutil.rmtree(version)


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
