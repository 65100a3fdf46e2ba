"""The service is stopped under load, again and again: what do its clients notice?"""

import argparse
import contextlib
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from benchmarks import machine
from benchmarks.processes import free_port
from benchmarks.service import ROOT, TOKEN
from benchmarks.table import markdown

SEVEN = (ROOT / "tests/images/seven-28x28.png").read_bytes()
LOAD_SECONDS = 0.4  # between the first reply and the signal

PROGRAMS = {
    "python -m app": ["-m", "app", "--workers", "2"],
    "uvicorn": ["-m", "uvicorn", "--factory", "app.main:create_app", "--http", "app.protocol:HttpProtocol"],
    "uvicorn --workers 2": [
        *("-m", "uvicorn", "--factory", "app.main:create_app", "--http", "app.protocol:HttpProtocol"),
        *("--workers", "2"),
    ],
}


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("stops", help="the service stopped under load, again and again")
    parser.add_argument("--stops", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--clients", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--program", choices=PROGRAMS, default="python -m app", help="default: %(default)s")
    parser.add_argument("--close", action="store_true", help="a new connection for each request")
    parser.set_defaults(command=run)


class _Client(threading.Thread):
    """Sends a digit without pause, on a connection that it keeps until a reply says `Connection: close`."""

    def __init__(self, port: int, close: bool) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.over = threading.Event()
        self._port, self._close = port, close

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self.over.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    self.counts["refused"] += 1
                    connection = None
                    time.sleep(0.005)
                    continue
                except OSError as error:
                    self.counts[f"connect: {error!r}"] += 1
                    connection = None
                    continue
            try:
                headers = {"Content-Type": "image/png"} | ({"Connection": "close"} if self._close else {})
                connection.request("POST", "/predict", SEVEN, headers)
                reply = connection.getresponse()
                reply.read()
            except (OSError, http.client.HTTPException) as error:
                self.counts[f"failed: {error!r}"] += 1
                connection.close()
                connection = None
                continue
            self.counts["answered" if reply.status == http.HTTPStatus.OK else f"failed: status {reply.status}"] += 1
            if reply.will_close:
                connection.close()
                connection = None


def run(options: argparse.Namespace) -> bool:
    """Returns whether no request failed, other than by a refused connection, and every stop was clean and in time."""
    port = free_port()
    with tempfile.TemporaryDirectory() as scratch:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("DIGITS_")}
        settings = {"DIGITS_STATE": f"{scratch}/state", "DIGITS_WORKER": "external", "DIGITS_ADMIN_TOKEN": TOKEN}
        clients = [_Client(port, options.close) for _ in range(options.clients)]
        for client in clients:
            client.start()
        statuses, seconds = Counter[int](), list[float]()
        try:
            for _ in range(options.stops):
                status, took = _one(options.program, port, plain | settings, Path(scratch), clients)
                statuses[status] += 1
                seconds.append(took)
        finally:
            for client in clients:
                client.over.set()
            for client in clients:
                client.join()
    counts = sum((client.counts for client in clients), Counter[str]())
    failed = {kind: count for kind, count in counts.items() if kind not in ("answered", "refused")}
    print(machine.describe())
    rows = [
        ["stops", f"{options.stops}, status {', '.join(f'{status}: {count}' for status, count in statuses.items())}"],
        ["seconds, median and longest", f"{sorted(seconds)[len(seconds) // 2]:.2f}, {max(seconds):.2f}"],
        ["requests answered", f"{counts['answered']:,}"],
        ["connections refused", f"{counts['refused']:,}"],
        ["requests failed", f"{sum(failed.values()):,} {failed or ''}".strip()],
    ]
    print(markdown(["what", options.program + (", a connection a request" if options.close else "")], rows))
    expected = {0} if options.program != "uvicorn" else {-signal.SIGTERM}
    return not failed and set(statuses) == expected and max(seconds) < 9


def _one(
    program: str, port: int, environment: dict[str, str], folder: Path, clients: list[_Client]
) -> tuple[int, float]:
    """Start it and stop it under load. Returns its status, and the seconds from the signal to the end."""
    before = sum(client.counts["answered"] for client in clients)
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  # our own command
            [sys.executable, *PROGRAMS[program], "--port", str(port)],
            env=environment,
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while sum(client.counts["answered"] for client in clients) <= before:
            if process.poll() is not None:
                raise RuntimeError(f"it ended with status {process.returncode}: see {folder / 'log'}")
            time.sleep(0.01)
        time.sleep(LOAD_SECONDS)
        began = time.monotonic()
        process.terminate()
        return process.wait(30), time.monotonic() - began
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
