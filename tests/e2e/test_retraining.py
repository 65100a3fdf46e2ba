"""Retraining with the real service, worker and training, on small data: the whole road, and accidents on it."""

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.registry import store
from benchmarks.processes import below
from benchmarks.service import Load
from tests.support.databases import POSTGRES
from tests.support.images import encode, handwritten
from tests.support.processes import command_of, runs
from tests.support.servers import AUTHORISED, Server, Start
from tests.support.versions import shipped
from tests.support.waiting import wait_for

# A training takes its time where other work has all cores; only a test that fails waits for so long.
TRAINING_SECONDS = 240

SMALL = {"start": "scratch", "recipe": "dense-512", "epochs": 2}


@pytest.fixture
def settings(tmp_path: Path, small_data: Path) -> dict[str, str]:
    return {
        "DIGITS_MODELS": str(shipped(tmp_path / "models")),
        "DIGITS_STATE": str(tmp_path / "state"),
        "DIGITS_DATA": str(small_data),
        "DIGITS_VERIFY_DATA": "false",
        "DIGITS_LEASE": "3",
    }


@pytest.fixture
def models(settings: dict[str, str]) -> Path:
    return Path(settings["DIGITS_MODELS"])


def client_of(server: Server) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers=AUTHORISED, timeout=30)


def until(client: httpx.Client, job: int, *statuses: str) -> dict[str, Any]:
    """Wait for a job to get there, also through restarts of the service."""
    found: dict[str, Any] = {}

    def is_there() -> bool:
        nonlocal found
        with contextlib.suppress(httpx.TransportError):
            found = client.get(f"/jobs/{job}").json()
        return found.get("status") in statuses

    wait_for(is_there, f"job {job} to be {' or '.join(statuses)}", TRAINING_SECONDS)
    return found


def find(server: Server, words: str) -> int:
    """The process below the service whose command line has these words, once there is one."""
    found: list[int] = []

    def is_there() -> bool:
        commands = {pid: command_of(pid) for pid in below(server.process.pid)}
        # For a moment it is the program that ties it to its parent.
        found[:] = [pid for pid, line in commands.items() if words in line and "parent_death_signal" not in line]
        return bool(found)

    wait_for(is_there, f"{words} below the service")
    return found[0]


def await_end(*pids: int) -> None:
    """Wait until none of these processes runs."""
    wait_for(lambda: not any(map(runs, pids)), f"the end of {pids}")


def await_empty(folder: Path) -> None:
    """Wait until nothing is left in a folder."""
    wait_for(lambda: not list(folder.iterdir()), f"nothing in {folder}")


def test_the_whole_road(start_server: Start, settings: dict[str, str], models: Path) -> None:
    """Corrections, retraining, the gate, the swap, back and forth; predictions go on through all of it."""
    server = start_server(**settings)
    random = np.random.default_rng(1)
    image = encode(handwritten(3, random))
    with client_of(server) as client, Load(server, [image], rate=30, clients=3) as load:
        # The drawn digits upside down, which MNIST has not.
        for number in range(40):
            label = number % 10
            file = encode(handwritten(label, random)[::-1].copy())
            client.post("/feedback", files={"file": file}, data={"label": str(label)}).raise_for_status()
        assert any(kept["held_back"] for kept in client.get("/feedback").json()["feedback"])
        job = client.post("/retrain", json={"epochs": 1, "force": True}).json()
        assert job["request"]["start"] == "current"
        with client.stream("GET", f"/jobs/{job['id']}/events", timeout=200) as stream:
            told = [line.removeprefix("event: ") for line in stream.iter_lines() if line.startswith("event")]
        assert list(dict.fromkeys(told)) == ["queued", "running", "progress", "measuring", "published"]
        done = client.get(f"/jobs/{job['id']}").json()
        assert (done["status"], done["parent"], done["version"]) == ("published", 1, 2)
        # One epoch of each of the ensemble's two networks and of the first stage.
        assert (done["progress"]["epoch"], done["progress"]["epochs"]) == (3, 3)
        assert done["progress"]["val_accuracy"] > 0.5
        assert done["verdict"]["mnist"]["images"] == 100
        manifest = client.get("/models/2").json()["card"]
        assert (manifest["parent"], manifest["job"], manifest["verdict"]) == (1, job["id"], done["verdict"])
        assert "feedback" in manifest["metrics"]
        for wanted, call in ((2, None), (1, "/models/1/activate"), (2, "/models/2/activate")):
            if call:
                client.post(call).raise_for_status()
            wait_for(lambda wanted=wanted: load.answers[-1].version == wanted, f"answers of version {wanted}")
        worse = client.post("/retrain", json={"start": "scratch", "recipe": "dense-512", "epochs": 1, "images": 100})
        rejected = until(client, worse.json()["id"], "rejected")
        assert "significantly worse" in rejected["reason"]
        assert rejected["version"] is None
        assert store.current(models) == 2
    assert load.failed == []
    # Both versions answered, and each says one thing.
    said = {(answer.version, answer.probabilities) for answer in load.answers}
    assert sorted(version for version, _ in said) == [1, 2]
    assert {path.name for path in models.iterdir()} == {"1", "2", "CURRENT"}
    await_empty(Path(settings["DIGITS_STATE"], "runs"))


@pytest.mark.parametrize("database_url", ["postgresql" if POSTGRES else "sqlite"], indirect=True)
def test_killed_in_the_middle_it_goes_on_from_its_checkpoint(
    start_server: Start,
    settings: dict[str, str],
    models: Path,
    database_url: str,
) -> None:
    """First the worker, then the service with all that belongs to it."""
    settings |= {"DIGITS_DATABASE_URL": database_url}
    server = start_server(**settings)
    with client_of(server) as client:
        client.post("/retrain", json=SMALL | {"epochs": 20, "force": True}).raise_for_status()
        checkpoint = Path(settings["DIGITS_STATE"], "runs/1/run/checkpoint.npz")
        wait_for(checkpoint.exists, "a checkpoint", TRAINING_SECONDS)
        training = find(server, "training fit")
        os.kill(find(server, "app.retraining.worker"), signal.SIGKILL)
        await_end(training)
        written = checkpoint.stat().st_mtime_ns
        again = find(server, "training fit")
        wait_for(lambda: checkpoint.stat().st_mtime_ns != written, "another checkpoint", TRAINING_SECONDS)
        server.process.kill()
        server.process.wait()
        await_end(again)
    server = start_server(**settings)
    with client_of(server) as client:
        until(client, 1, "published")
        told = client.get("/jobs/1/events").text
    epochs = [json.loads(line[6:])["epoch"] for line in told.splitlines() if '"epoch"' in line]
    assert epochs == sorted(epochs)  # never begun anew
    assert told.count("event: queued") == 3
    assert told.count("event: published") == 1
    assert {path.name for path in models.iterdir()} == {"1", "2", "CURRENT"}


def test_cancelling_ends_the_training(start_server: Start, settings: dict[str, str], models: Path) -> None:
    server = start_server(**settings)
    with client_of(server) as client:
        client.post("/retrain", json=SMALL | {"epochs": 1000}).raise_for_status()
        training = find(server, "training fit")
        client.delete("/jobs/1").raise_for_status()
        assert until(client, 1, "cancelled")["version"] is None
        await_end(training)
        assert store.numbers(models) == [1]
        await_empty(Path(settings["DIGITS_STATE"], "runs"))


def test_what_training_refuses_is_the_reason(
    start_server: Start, settings: dict[str, str], tmp_path: Path, small_data: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for path in small_data.iterdir():
        (data / path.name).write_bytes(path.read_bytes() if "labels" in path.name else b"damaged")
    server = start_server(**settings | {"DIGITS_DATA": str(data)})
    with client_of(server) as client:
        client.post("/retrain", json=SMALL).raise_for_status()
        assert "cannot be read as a gzip file" in until(client, 1, "failed")["reason"]


def test_the_service_ends_with_its_worker(start_server: Start, settings: dict[str, str]) -> None:
    """And a job that ran is put back, to go on after the start."""
    server = start_server(**settings)
    with client_of(server) as client:
        client.post("/retrain", json=SMALL | {"epochs": 1000}).raise_for_status()
        training, worker = find(server, "training fit"), find(server, "app.retraining.worker")
        server.stop()
        await_end(worker, training)
    server = start_server(**settings | {"DIGITS_WORKER": "external"})
    with client_of(server) as client:
        job = client.get("/jobs/1").json()
        assert (job["status"], job["attempts"]) == ("queued", 0)


def test_data_that_comes_later_than_the_service(
    start_server: Start, settings: dict[str, str], tmp_path: Path, small_data: Path
) -> None:
    """A volume that is mounted late: what was promised a 202 is done, without a restart."""
    data = tmp_path / "late"
    server = start_server(**settings | {"DIGITS_DATA": str(data)})
    with client_of(server) as client:
        assert client.post("/retrain", json=SMALL).status_code == 409
        data.symlink_to(small_data)
        assert client.post("/retrain", json=SMALL | {"epochs": 1000}).status_code == 202
        until(client, 1, "running")
        client.delete("/jobs/1").raise_for_status()
