"""Several server processes on one port."""

import contextlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from app.registry.store import KERAS
from tests.support.calls import metric
from tests.support.images import SEVEN
from tests.support.servers import Start, command, environment, free_port, serving
from tests.support.versions import SHIPPED, add, point, shipped
from tests.support.waiting import wait_for


def ask(url: str, times: int) -> None:
    """Each time over a connection of its own, so that each process may take it."""
    for _ in range(times):
        assert httpx.post(f"{url}/predict", files={"file": SEVEN}).json()["digit"] == 7


def test_their_metrics_add_up_and_one_that_dies_is_replaced(start_server: Start) -> None:
    server = start_server("--workers", "2")
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


def test_numpy_has_one_thread_in_each(start_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenBLAS starts one for each core at its import, and those of a product wait in a loop for each other."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    server = start_server("--workers", "2")
    for child in serving(server):
        assert b"OPENBLAS_NUM_THREADS=1" in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")


def test_all_end_when_the_first_of_them_is_killed(start_server: Start) -> None:
    server = start_server("--workers", "2")
    both = serving(server)
    server.process.kill()
    server.process.wait()
    wait_for(lambda: not any(Path(f"/proc/{child}/maps").exists() for child in both), "that both end")


def test_what_keeps_it_from_starting_is_told_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [*command(free_port()), "--workers", "3"],
        env=environment(DIGITS_MODELS=str(tmp_path / "nowhere")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "CURRENT" in json.loads(line)["message"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_that_is_taken(workers: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [*command(taken.getsockname()[1]), "--workers", workers],
            env=environment(DIGITS_MODELS=str(SHIPPED)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "--port" in json.loads(done.stderr)["message"]


def test_their_number() -> None:
    for wrong in ("0", "-1", "two"):
        arguments = [*command(1), "--workers", wrong]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert "1 or more" in done.stderr
    done = subprocess.run(command(99999), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "0 to 65535" in done.stderr) == (2, True)


def test_a_burst_of_connections_waits_while_the_service_is_busy(start_server: Start) -> None:
    """The kernel keeps as many as the backlog says, and drops the rest."""
    server = start_server("--workers", "2")
    both = serving(server)
    count = min(300, int(Path("/proc/sys/net/core/somaxconn").read_text()))
    for pid in both:
        os.kill(pid, signal.SIGSTOP)
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        for pid in both:
            os.kill(pid, signal.SIGCONT)
        ask(server.url, 1)
