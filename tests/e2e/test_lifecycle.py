"""The service as a process: how it starts, how it refuses to, how it leaves."""

import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app import server, settings
from app.errors import ModelError
from app.main import create_app
from app.registry import store
from tests.support.damage import Damage, flip_bit, halve, remove, write
from tests.support.images import SEVEN
from tests.support.paths import ROOT
from tests.support.processes import listens
from tests.support.servers import AUTHORISED, Start, command, environment, free_port, refused_start
from tests.support.versions import SHIPPED, add, describe, shipped
from tests.support.waiting import TIMEOUT_SECONDS, wait_for


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


# What happens to the version that serves, and the file or number that the message must name.
DAMAGES: list[tuple[Damage, str]] = [
    (flip_bit("model.keras"), "model.keras"),
    (flip_bit("model.bin"), "model.bin"),
    (halve("model.bin"), "model.bin"),
    (halve("model.xml"), "model.xml"),
    (remove("model.xml"), "model.xml"),
    (remove("card.json"), "card.json"),
    (halve("card.json"), "card.json"),
    (shutil.rmtree, "card.json"),
    (lambda version: (version.parent / "CURRENT").unlink(), "CURRENT"),
    (write("../CURRENT", "9"), "9"),
    (write("../CURRENT", "one\n"), "CURRENT"),
    (write("../CURRENT", "9" * 5000), "CURRENT"),
    (write("card.json", "[" * 100_000), "card.json"),
    (write("card.json", '{"format": 1, "files": null}'), "card.json"),
]


def test_a_damaged_version_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of our own program and of the app, and of a process for sure."""
    for number, (damage, name) in enumerate(DAMAGES):
        models = shipped(tmp_path / f"digits-{number}")
        damage(models / "1")
        monkeypatch.setenv("DIGITS_MODELS", str(models))
        message = server._prepare(None)
        assert message is not None, (number, name)
        assert name in message, (number, name)
        assert str(models) in message, (number, name)
        with pytest.raises(ModelError) as told:
            create_app(settings.Settings(models=models, state=tmp_path))
        assert name in str(told.value), (number, name)
    assert refused_start(DIGITS_MODELS=str(models)) == message


def test_a_graph_of_another_network_stops_the_start(tmp_path: Path) -> None:
    """The digests are right, but the graph was not made from this model.keras."""
    models = shipped(tmp_path / "digits")
    graph, source = models / "1" / "model.xml", store.read_manifest(models / "1").files["model.keras"]
    text = graph.read_text()
    assert source in text
    graph.write_text(text.replace(source, "0" * 64))
    describe(models / "1")
    assert "model.keras" in refused_start(DIGITS_MODELS=str(models))


def test_settings_that_are_wrong() -> None:
    message = refused_start(DIGITS_MAX_BODY="much", DIGITS_THREADS="0")
    assert "DIGITS_MAX_BODY" in message
    assert "DIGITS_THREADS" in message


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_program_leaves_with_status_0(start_server: Start, tmp_path: Path, workers: str) -> None:
    """Also after another version took over: what the first one's network leaves must not stand in a signal's way."""
    models = tmp_path / "models"
    options = ["--workers", workers, "--seed", str(SHIPPED)]
    server = start_server(*options, DIGITS_MODELS=str(models), DIGITS_WORKER="external")
    with httpx.Client(base_url=server.url, headers=AUTHORISED) as client:
        assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
        assert "server" not in client.get("/health/live").headers
        add(models, 2)
        for number in (2, 1, 2):
            assert client.post(f"/models/{number}/activate").is_success
            assert client.post("/predict", files={"file": SEVEN}).json()["digit"] in (2, 7)
    assert server.stop() == 0
    assert {line["level"] for line in server.lines()} == {"info"}


def test_the_program_says_what_it_cannot_begin_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, models, reason in (
        (Path("nowhere"), str(tmp_path / "models"), "CURRENT"),
        (SHIPPED, "/proc/models", "/proc/models"),
    ):
        monkeypatch.setenv("DIGITS_MODELS", models)
        message = server._prepare(seed)
        assert message is not None, reason
        assert reason in message


def is_imported(library: str) -> Callable[[int], bool]:
    """A moment of the start: a process has opened a library."""
    return lambda pid: library in Path(f"/proc/{pid}/maps").read_text()


MOMENTS: dict[str, Callable[[int], bool]] = {
    "at once": lambda pid: True,
    "while it imports": is_imported("_json"),
    "before it loads the network": is_imported("numpy"),
    "while it loads the network": is_imported("openvino"),
    "when it listens": listens,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_told_to_end_at_any_moment_of_the_start_it_ends_well(moment: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(free_port()), env=environment(DIGITS_STATE=str(tmp_path)), cwd=ROOT, stderr=output
        )
    wait_for(lambda: process.poll() is not None or MOMENTS[moment](process.pid), moment)
    process.terminate()
    assert process.wait(TIMEOUT_SECONDS) in (0, -signal.SIGTERM), log.read_text()  # the latter before it hears signals
    assert "Traceback" not in log.read_text()
