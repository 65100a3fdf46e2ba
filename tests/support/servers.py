"""The service as its users start it, and in this process."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from app.main import create_app
from app.protocol import HttpProtocol
from app.settings import Settings
from tests.support.paths import ROOT
from tests.support.processes import children, command_of
from tests.support.versions import SHIPPED
from tests.support.waiting import TIMEOUT_SECONDS, wait_for

TOKEN = "token-of-the-tests"
AUTHORISED = {"authorization": f"Bearer {TOKEN}"}

# Where a test names no folder; nothing is ever written into the checkout.
_state = tempfile.TemporaryDirectory(prefix="digits-state-")

STARTED = "Application startup complete."  # uvicorn logs it for each server process that is ready


@dataclass
class Server:
    """The service as its users start it."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return httpx.URL(self.url).port or 80

    def lines(self) -> list[dict[str, Any]]:
        """What its log has told so far. A line that is just being written is none yet."""
        whole = self.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def logged(self, message: str) -> int:
        """How many lines of its log have this message."""
        return sum(line["message"] == message for line in self.lines())

    def await_processes(self, count: int) -> None:
        """Wait until so many server processes have been ready."""
        wait_for(lambda: self.logged(STARTED) >= count, f"{count} server processes")

    def stop(self) -> int:
        """End it as its users do; its exit status."""
        self.process.terminate()
        return self.process.wait(30)

    def resident_bytes(self) -> int:
        """The memory that it has."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def serving(server: Server) -> list[int]:
    """Ids of the two server processes, once both serve."""
    server.await_processes(2)
    # The other child is multiprocessing's resource tracker.
    return [pid for pid in children(server.process.pid) if "spawn_main" in command_of(pid)]


Start = Callable[..., Server]


def command(port: int) -> list[str]:
    """Our own program."""
    return [sys.executable, "-m", "app", "--port", str(port), "--workers", "1"]


def uvicorn_command(port: int) -> list[str]:
    """What the README says."""
    options = ["--http", "app.protocol:HttpProtocol", "--timeout-graceful-shutdown", "7", "--port", str(port)]
    return [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", *options]


def environment(**settings: str | None) -> dict[str, str]:
    """For a service with these settings; None leaves one out that is set otherwise."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("DIGITS_")}
    ours = {"DIGITS_MODELS": str(SHIPPED), "DIGITS_STATE": _state.name, "DIGITS_ADMIN_TOKEN": TOKEN}
    return {name: value for name, value in (plain | ours | settings).items() if value is not None}


def free_port() -> int:
    """A port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_ready(client: httpx.Client, url: str) -> bool:
    """Whether a service takes requests."""
    with contextlib.suppress(httpx.TransportError):
        return client.get(f"{url}/health/ready").is_success
    return False


@contextlib.contextmanager
def servers_in(folder: Path) -> Iterator[Start]:
    """Starts servers with the arguments and settings given; their logs and state are below a folder.

    All of them end with the block, and their worker processes with them.
    """
    servers: list[Server] = []

    def start(*arguments: str, program: Callable[[int], list[str]] = command, **settings: str | None) -> Server:
        port, log = free_port(), folder / f"server-{len(servers)}.log"
        settings = {"DIGITS_STATE": str(folder / f"state-{len(servers)}")} | settings
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*program(port), *arguments],
                env=environment(**settings),
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        server = Server(process, f"http://127.0.0.1:{port}", log)
        servers.append(server)

        def ready() -> bool:
            assert process.poll() is None, log.read_text()
            return is_ready(client, server.url)

        with httpx.Client() as client:  # to make one takes as long as many looks
            wait_for(ready, f"a server that is ready: {' '.join(arguments)}", 2 * TIMEOUT_SECONDS)
        return server

    try:
        yield start
    finally:
        for server in servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()


def start_that_fails(*arguments: str, program: Callable[[int], list[str]] = command, **settings: str | None) -> str:
    """Start a server that must not start; all that it says."""
    done = subprocess.run(
        [*program(free_port()), *arguments],
        env=environment(**settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (1, 3), done.stderr  # the latter where a server process finds out
    assert "Traceback" not in done.stderr
    return done.stderr


def refused_start(**settings: str) -> str:
    """Start a server that must not start; the message of its last line."""
    message = json.loads(start_that_fails(**settings).splitlines()[-1])["message"]
    assert isinstance(message, str)
    return message


@contextlib.contextmanager
def served(state: Path, models: Path = SHIPPED, **settings: Any) -> Iterator[httpx.Client]:
    """The whole service in a thread of this process, where parts of it can be exchanged.

    It starts in a quarter of a second, a process of its own in more than one.

    Yields:
        A client that sends the admin token.
    """
    port = free_port()
    app = create_app(
        Settings(**{"models": models, "state": state, "worker": "external", "admin_token": TOKEN} | settings)
    )
    server = uvicorn.Server(uvicorn.Config(app, port=port, http=HttpProtocol, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started or not thread.is_alive(), "a server that has started")
        assert server.started
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, headers=AUTHORISED, timeout=2 * TIMEOUT_SECONDS) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
