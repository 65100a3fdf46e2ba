"""The service as a process: how it starts, how it refuses to, how it leaves."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app import __main__, resources, settings
from app.registry import store
from tests.support.damage import flip_bit, halve, remove
from tests.support.images import SEVEN
from tests.support.paths import ROOT
from tests.support.servers import AUTHORISED, Start, command, environment, free_port, refused_start
from tests.support.versions import SHIPPED, add


def test_memory_and_libraries(start_server: Start) -> None:
    server = start_server()
    with httpx.Client(base_url=server.url) as client:
        for _ in range(50):
            client.post("/predict", files={"file": SEVEN})
        client.post("/predict/batch", files=[("file", SEVEN)] * 500)
    assert server.resident_bytes() < 220_000_000
    loaded = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "openvino" in loaded
    assert "site-packages/tensorflow" not in loaded  # and that no Python module is, test_house.py shows


def test_sigterm_finishes_what_is_running(start_server: Start) -> None:
    server = start_server()
    replies: list[httpx.Response] = []

    def send() -> None:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            replies.append(client.post("/predict/batch", files=[("file", SEVEN)] * 1000))

    # One call: when the network is at work, it has come for sure.
    sender = threading.Thread(target=send)
    sender.start()
    with httpx.Client(base_url=server.url) as metrics:
        while "digits_batch_images_count 0.0" in metrics.get("/metrics").text:
            time.sleep(0.001)
    server.stop()
    sender.join()
    assert [reply.status_code for reply in replies] == [200]
    assert len(replies[0].json()["predictions"]) == 1000
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (flip_bit("model.keras"), "model.keras"),
        (flip_bit("model.bin"), "model.bin"),
        (halve("model.bin"), "model.bin"),
        (halve("model.xml"), "model.xml"),
        (remove("model.xml"), "model.xml"),
        (remove("card.json"), "card.json"),
        (halve("card.json"), "card.json"),
        (shutil.rmtree, "card.json"),
        (lambda version: (version.parent / "CURRENT").unlink(), "CURRENT"),
        (lambda version: (version.parent / "CURRENT").write_text("9"), "9"),
        (lambda version: (version.parent / "CURRENT").write_text("one\n"), "CURRENT"),
        (lambda version: (version.parent / "CURRENT").write_text("9" * 5000), "CURRENT"),
        (lambda version: (version / "card.json").write_text("[" * 100_000), "card.json"),
        (lambda version: (version / "card.json").write_text('{"format": 1, "files": null}'), "card.json"),
    ],
)
def test_a_damaged_version_stops_the_start(tmp_path: Path, damage: Callable[[Path], None], name: str) -> None:
    models = tmp_path / "digits"
    shutil.copytree(SHIPPED, models)
    damage(models / str(store.current(models)))
    message = refused_start(DIGITS_MODELS=str(models))
    assert name in message
    assert str(models) in message


def test_no_models_at_all(tmp_path: Path) -> None:
    assert "CURRENT" in refused_start(DIGITS_MODELS=str(tmp_path / "nowhere"))


def test_a_graph_of_another_network_stops_the_start(tmp_path: Path) -> None:
    """The digests are right, but the graph was not made from this model.keras."""
    models = tmp_path / "digits"
    shutil.copytree(SHIPPED, models)
    version = models / str(store.current(models))
    graph = (version / "model.xml").read_text()
    source = store.read_manifest(version).files["model.keras"]
    assert source in graph
    (version / "model.xml").write_text(graph.replace(source, "0" * 64))
    manifest = json.loads((version / "card.json").read_text())
    manifest["files"]["model.xml"] = store.digest(version / "model.xml")
    (version / "card.json").write_text(json.dumps(manifest))
    assert "model.keras" in refused_start(DIGITS_MODELS=str(models))


def test_settings_that_are_wrong() -> None:
    message = refused_start(DIGITS_MAX_BODY="much", DIGITS_THREADS="0")
    assert "DIGITS_MAX_BODY" in message
    assert "DIGITS_THREADS" in message


def test_a_damaged_version_hides_no_other(tmp_path: Path, start_server: Start) -> None:
    models = tmp_path / "digits"
    shutil.copytree(SHIPPED, models)
    number = store.current(models)
    for other, change in (
        (7, {"version": 7, "recipe": {"layers": []}}),
        (8, {"version": 8, "files": {"x": None}}),
        (9, {}),
    ):
        shutil.copytree(models / str(number), models / str(other))  # 9 has the card of another version
        manifest = json.loads((models / str(number) / "card.json").read_text())
        (models / str(other) / "card.json").write_text(json.dumps(manifest | change))
    server = start_server(DIGITS_MODELS=str(models))
    with httpx.Client(base_url=server.url) as client:
        assert [model["version"] for model in client.get("/models").json()["models"]] == [number]
        for other in (7, 8, 9):
            reply = client.get(f"/models/{other}")
            assert reply.status_code == 500
            assert reply.json()["type"] == "urn:digits:problem:damaged-version"
            assert str(tmp_path) not in reply.text
            assert f"{models}/{other}/card.json" in server.log.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_program_leaves_with_status_0(tmp_path: Path, workers: str) -> None:
    """Also after another version took over: what the first one's network leaves must not stand in a signal's way."""
    models, port = tmp_path / "models", free_port()
    arguments = ["--port", str(port), "--workers", workers, "--seed", str(SHIPPED)]
    process = subprocess.Popen(
        [sys.executable, "-m", "app", *arguments],
        env=environment(DIGITS_MODELS=str(models), DIGITS_STATE=str(tmp_path / "state"), DIGITS_WORKER="external"),
        stderr=subprocess.PIPE,
        text=True,
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=AUTHORISED) as client:
        for _ in range(600):
            with contextlib.suppress(httpx.TransportError):
                if client.get("/health/ready").is_success:
                    break
            assert process.poll() is None
            time.sleep(0.05)
        assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
        assert "server" not in client.get("/health/live").headers
        add(models, 2)
        assert client.post("/models/2/activate").is_success
        time.sleep(0.5)
        process.terminate()
        _, log = process.communicate(timeout=15)
    assert process.returncode == 0, log
    assert all(json.loads(line)["level"] == "info" for line in log.splitlines()), log


def test_the_program_says_what_it_cannot_begin_with(tmp_path: Path) -> None:
    for seed, models, reason in (("nowhere", "models", "CURRENT"), (str(SHIPPED), "/proc/models", "/proc/models")):
        done = subprocess.run(
            [sys.executable, "-m", "app", "--seed", seed],
            env=environment(DIGITS_MODELS=models if models[0] == "/" else str(tmp_path / models)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert reason in json.loads(done.stderr)["message"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "20000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"quota": "300000\n", "period": "100000\n"}, 3),
        ({"quota": "-1\n", "period": "100000\n"}, 64),
        ({}, 64),
    ],
)
def test_threads_follow_a_containers_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(resources, "CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(resources, "CFS", (tmp_path / "quota", tmp_path / "period"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert settings.Settings().threads == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "536870912\n"}, 1),
        ({"memory.max": "100000000\n"}, 1),
        ({"memory.max": "max\n"}, 64),
        ({"limit": "1073741824\n"}, 2),
        ({"limit": "9223372036854771712\n"}, 64),
        ({}, 64),
    ],
)
def test_no_more_processes_than_fit_into_a_containers_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(resources, "CPU_MAX", tmp_path / "no limit")
    monkeypatch.setattr(resources, "CFS", (tmp_path / "no limit", tmp_path / "no limit"))
    monkeypatch.setattr(resources, "MEMORY", (tmp_path / "memory.max", tmp_path / "limit"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(sys, "argv", ["app"])
    assert __main__._options().workers == expected


@pytest.mark.parametrize("moment", [0.1, 0.2, 0.3, 0.4, 0.5])
def test_told_to_end_at_any_moment_of_the_start_it_ends_well(moment: float, tmp_path: Path) -> None:
    program = [*command(free_port()), "--workers", "1"]
    process = subprocess.Popen(program, env=environment(DIGITS_STATE=str(tmp_path)), cwd=ROOT, stderr=subprocess.PIPE)
    time.sleep(moment)
    process.terminate()
    _, log = process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM)  # the latter before it hears signals
    assert b"Traceback" not in log
