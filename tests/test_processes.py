"""Several server processes on one port."""

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import processes
from tests.conftest import SHIPPED, Start, command, environment, free_port
from tests.http.test_predictions import SEVEN
from tests.http.test_service import metric
from tests.versions import add, point, shipped
from training.versions import KERAS


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def await_children(pid: int, *others_than: int) -> list[int]:
    """The process ids of both, once both listen."""
    for _ in range(600):
        found = children(pid)
        if len(found) == 2 and not {*found} & {*others_than} and all(listens(child) for child in found):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def listens(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):  # it ended
        return bool(_sockets(pid, _LISTENS))
    return False


# States of a connection in /proc/net/tcp.
_ESTABLISHED, _LISTENS = "01", "0A"


def _sockets(pid: int, state: str, port: int | None = None) -> list[str]:
    """Inodes of a process's sockets in this state, on this port or any."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    places = [(row[9], int(row[1].split(":")[1], 16)) for row in rows if row[3] == state]
    inodes = {inode for inode, found in places if port in (None, found)}
    links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    return [inode for inode in inodes if f"socket:[{inode}]" in links]


def ask(url: str, times: int) -> None:
    """Each time over a connection of its own, so that each process may take it."""
    for _ in range(times):
        assert httpx.post(f"{url}/predict", files={"file": SEVEN}).json()["digit"] == 7


def test_their_metrics_add_up_and_one_that_dies_is_replaced(start_server: Start) -> None:
    server = start_server("--workers", "2")
    count = 'digits_requests_total{method="POST",path="/predict",status="200"}'
    first, second = await_children(server.process.pid)
    ask(server.url, 20)
    assert {metric(httpx.get(f"{server.url}/metrics").text, count) for _ in range(10)} == {20}
    os.kill(first, signal.SIGKILL)
    while first in children(server.process.pid):
        time.sleep(0.01)
    ask(server.url, 20)  # the other one answers
    assert second in await_children(server.process.pid, first)
    ask(server.url, 20)
    text = httpx.get(f"{server.url}/metrics").text
    assert metric(text, count) == 60  # with those of the dead
    assert metric(text, 'digits_model_version{name="digits"}') == 1
    assert server.stop() == 0
    levels = [line["level"] for line in server.lines()]
    assert levels.count("error") == 1


def test_one_that_cannot_come_back_is_counted(start_server: Start, tmp_path: Path) -> None:
    models = shipped(tmp_path / "digits")
    server = start_server("--workers", "2", DIGITS_MODELS=str(models), DIGITS_WORKER="external")
    first, _ = await_children(server.process.pid)
    (add(models, 2) / KERAS).write_bytes(b"")
    point(models, "2\n")

    def await_failures(count: int) -> None:
        end = time.monotonic() + 60
        while metric(httpx.get(f"{server.url}/metrics").text, "digits_model_load_failures_total") < count:
            assert time.monotonic() < end
            time.sleep(0.05)

    await_failures(2)  # each of them, once
    os.kill(first, signal.SIGKILL)
    while first in children(server.process.pid):
        time.sleep(0.01)
    await_failures(4)  # its successor, and the next
    ask(server.url, 5)


def connections(pid: int, port: int) -> int:
    """How many to this port a process has."""
    return len(_sockets(pid, _ESTABLISHED, port))


def test_numpy_has_one_thread_in_each(start_server: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its library starts one for each core at its import, and a product's wait in a loop for each other."""
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    server = start_server("--workers", "2")
    for child in await_children(server.process.pid):
        assert b"OPENBLAS_NUM_THREADS=1" in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")


def test_connections_are_dealt_evenly(start_server: Start) -> None:
    server = start_server("--workers", "2")
    both = await_children(server.process.pid)
    port = httpx.URL(server.url).port
    assert port

    def deal(count: int) -> list[int]:
        """So many connections, each of which answers; how many of them each process has."""
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(httpx.Client(base_url=server.url)) for _ in range(count)]
            for client in [*clients, *clients]:
                assert client.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
            dealt = [connections(pid, port) for pid in both]
        for _ in range(200):  # until they have seen that the clients left
            if not any(connections(pid, port) for pid in both):
                break
            time.sleep(0.01)
        return dealt

    for _ in range(100):  # until the second one takes connections
        if deal(2) == [1, 1]:
            break
    assert [deal(4) for _ in range(6)] == [[2, 2]] * 6
    assert server.stop() == 0


def test_all_end_when_the_first_of_them_is_killed(start_server: Start) -> None:
    server = start_server("--workers", "2")
    both = await_children(server.process.pid)
    server.process.kill()
    server.process.wait()
    for _ in range(200):
        if not any(Path(f"/proc/{child}/maps").exists() for child in both):
            return
        time.sleep(0.05)
    raise AssertionError(both)


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


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [*command(taken.getsockname()[1]), "--workers", "2"],
            env=environment(DIGITS_MODELS=str(SHIPPED)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "--port" in json.loads(done.stderr)["message"]


def test_their_number(tmp_path: Path) -> None:
    for wrong in ("0", "-1", "two"):
        arguments = [*command(1), "--workers", wrong]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert "1 or more" in done.stderr
    done = subprocess.run(command(99999), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "0 to 65535" in done.stderr) == (2, True)


def test_one_that_cannot_be_started_again_at_once_is_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system may have no memory or no processes left for a moment; the others go on meanwhile."""
    listen = "import socket, sys, time; socket.socket(fileno=int(sys.argv[1])).listen(); time.sleep(60)"
    start = subprocess.Popen
    started: list[subprocess.Popen[bytes] | None] = []

    def start_but_once(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        if len(started) == 1:
            started.append(None)
            raise BlockingIOError(errno.EAGAIN, "no more processes")
        started.append(start(*arguments, **options))
        assert started[-1]
        return started[-1]

    running = processes.Processes("127.0.0.1", 0, 1, lambda *given: [sys.executable, "-c", listen, str(given[-1])])

    def scenario() -> None:
        while not running._listens:
            time.sleep(0.01)
        assert started[0]
        started[0].kill()
        for _ in range(6000):
            if len(started) == 3:
                break
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", start_but_once)
    monkeypatch.setattr(processes, "PAUSE", 0.01)
    before = signal.getsignal(signal.SIGTERM)
    outside = threading.Thread(target=scenario)
    outside.start()
    # Told to end, it may end by the signal itself: one that is just starting does.
    assert running.run() == 0
    outside.join()
    assert [process is not None for process in started] == [True, False, True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_nobody_can_connect_to_one_that_has_closed_its_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to end, it may just have begun to listen. Who connects to what the first process still has of its socket
    waits for an answer until that ends, and is reset.
    """
    monkeypatch.setattr(processes, "LOOK_EVERY", 60.0)
    listen = """
import os, signal, socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
address = listener.getsockname()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.kill(os.getppid(), signal.SIGTERM)
listener.listen()
signal.sigwait([signal.SIGTERM])
listener.close()
sys.exit(socket.socket().connect_ex(address) == 0)
"""
    running = processes.Processes("127.0.0.1", 0, 1, lambda *given: [sys.executable, "-c", listen, str(given[-1])])
    assert running.run() == 0


def test_where_not_even_the_first_can_be_started_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(subprocess, "Popen", never)
    running = processes.Processes("127.0.0.1", 0, 2, lambda *_: ["true"])
    with pytest.raises(BlockingIOError):
        running.run()
