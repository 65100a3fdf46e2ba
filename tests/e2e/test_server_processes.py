"""Several server processes on one port."""

import contextlib
import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.__main__ import main
from app.registry.store import KERAS
from tests.support.calls import metric
from tests.support.images import SEVEN
from tests.support.servers import Server, Start, servers_in, serving, start_that_fails
from tests.support.versions import add, point, shipped
from tests.support.waiting import wait_for


def ask(url: str, times: int) -> None:
    """Each time over a connection of its own, so that each process may take it."""
    for _ in range(times):
        assert httpx.post(f"{url}/predict", files={"file": SEVEN}).json()["digit"] == 7


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the processes keep the admin token, which none is given."""
    return tmp_path_factory.mktemp("state") / "token"


@pytest.fixture(scope="module")
def pair(token_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two server processes, for tests that leave both as they are."""
    with pytest.MonkeyPatch.context() as patch, servers_in(tmp_path_factory.mktemp("pair")) as start:
        patch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        yield start(
            "--workers", "2", DIGITS_STATE=str(token_file.parent), DIGITS_ADMIN_TOKEN=None, DIGITS_WORKER="external"
        )


def test_numpy_has_one_thread_in_each(pair: Server) -> None:
    """OpenBLAS starts one for each core at its import, and those of a product wait in a loop for each other."""
    for child in serving(pair):
        assert b"OPENBLAS_NUM_THREADS=1" in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")


def test_they_agree_on_one_token(pair: Server, token_file: Path) -> None:
    serving(pair)
    assert pair.logged(f"the admin token is in {token_file}") == 2
    headers = {"authorization": f"Bearer {token_file.read_text().strip()}"}
    statuses = [httpx.post(f"{pair.url}/models/999/activate", headers=headers).status_code for _ in range(20)]
    assert Counter(statuses) == {404: 20}  # the token is right, the version is not there
    assert [path.name for path in token_file.parent.iterdir() if "token" in path.name] == ["token"]


def test_a_burst_of_connections_waits_while_the_service_is_busy(pair: Server) -> None:
    """The kernel keeps as many as the backlog says, and drops the rest."""
    both = serving(pair)
    count = min(300, int(Path("/proc/sys/net/core/somaxconn").read_text()))
    for pid in both:
        os.kill(pid, signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(("127.0.0.1", pair.port), timeout=10))
        for pid in both:
            os.kill(pid, signal.SIGCONT)
        ask(pair.url, 1)


def test_their_metrics_add_up_and_one_that_dies_is_replaced(start_server: Start) -> None:
    server = start_server("--workers", "2", DIGITS_WORKER="external")
    count = 'digits_requests_total{method="POST",path="/predict",status="200"}'
    first, _ = serving(server)
    ask(server.url, 20)
    assert {metric(httpx.get(f"{server.url}/metrics").text, count) for _ in range(10)} == {20}
    os.kill(first, signal.SIGKILL)
    server.await_processes(3)
    ask(server.url, 20)
    text = httpx.get(f"{server.url}/metrics").text
    assert metric(text, count) == 40  # with those of the dead
    assert metric(text, 'digits_model_version{name="digits"}') == 1
    assert server.stop() == 0


def test_what_a_dead_process_told_of_its_state_is_forgotten(start_server: Start, tmp_path: Path) -> None:
    """Its version would be told for ever, as the lowest that serves."""
    models = shipped(tmp_path / "digits")
    server = start_server("--workers", "2", DIGITS_MODELS=str(models), DIGITS_WORKER="external")
    first, second = serving(server)
    os.kill(second, signal.SIGSTOP)  # so that it stays with version 1
    add(models, 2)
    point(models, "2\n")
    os.kill(second, signal.SIGKILL)
    version = 'digits_model_version{name="digits"}'
    wait_for(lambda: metric(httpx.get(f"{server.url}/metrics", timeout=60).text, version) == 2, "version 2 alone")
    assert first in serving(server)


def test_one_that_cannot_come_back_ends_the_service_with_a_line_that_says_why(
    start_server: Start, tmp_path: Path
) -> None:
    """Nothing starts it again for ever."""
    models = shipped(tmp_path / "digits")
    server = start_server("--workers", "2", DIGITS_MODELS=str(models), DIGITS_WORKER="external")
    first, _ = serving(server)
    (add(models, 2) / KERAS).write_bytes(b"")
    point(models, "2\n")
    os.kill(first, signal.SIGKILL)
    assert server.process.wait(60) == 1
    critical = [line["message"] for line in server.lines() if line["level"] == "critical"]
    assert len(critical) == 1
    assert "2/model.keras" in critical[0]


def test_all_end_when_the_first_of_them_is_killed(start_server: Start) -> None:
    server = start_server("--workers", "2", DIGITS_WORKER="external")
    both = serving(server)
    server.process.kill()
    server.process.wait()
    wait_for(lambda: not any(Path(f"/proc/{child}/maps").exists() for child in both), "that both end")


def test_what_keeps_it_from_starting_is_told_once(tmp_path: Path) -> None:
    (line,) = start_that_fails("--workers", "3", DIGITS_MODELS=str(tmp_path / "nowhere")).splitlines()
    assert "CURRENT" in json.loads(line)["message"]


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for workers in ("1", "2"):
            told = start_that_fails("--port", str(taken.getsockname()[1]), "--workers", workers)
            assert "--port" in json.loads(told)["message"], workers


def test_their_number_and_the_port(capsys: pytest.CaptureFixture[str]) -> None:
    for option, wrong, message in (
        *(("--workers", wrong, "1 or more") for wrong in ("0", "-1", "two")),
        ("--port", "99999", "0 to 65535"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["serve", option, wrong])
        assert message in capsys.readouterr().err, wrong
