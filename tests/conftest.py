"""Fixtures: the service in this process, the service as a process of its own, and data."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from app.main import create_app
from app.protocol import HttpProtocol
from app.settings import Settings
from tests.samples import write_idx
from training.data import Digits, load

ROOT = Path(__file__).parent.parent

collect_ignore = ["clients"]  # they run in an environment of their own: make test-clients

TOKEN = "token-of-the-tests"
AUTHORISED = {"authorization": f"Bearer {TOKEN}"}

# Where a test names no folder; nothing is ever written into the checkout.
_state = tempfile.TemporaryDirectory(prefix="digits-state-")

# The version that the project comes with, alone: others may have been published into the checkout.
SHIPPED = Path(_state.name) / "digits"
shutil.copytree(ROOT / "models" / "digits" / "1", SHIPPED / "1")
(SHIPPED / "CURRENT").write_text("1\n")

# A client reads the authorities' certificates when it is made, which takes 16 ms and more. The tests make 5,000, and
# speak to nobody by TLS.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = _state.name


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes go by their length: a compressed file holds the second at which it was made, and the processes that share
    the tests must all collect the same names.
    """
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


@dataclass
class Server:
    """The service as its users start it."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def port(self) -> int:
        return httpx.URL(self.url).port or 80

    def lines(self) -> list[dict[str, Any]]:
        """What its log has told so far. A line that is just being written is none yet."""
        whole = self.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)

    def resident_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def command(port: int) -> list[str]:
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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def served(state: Path) -> Iterator[int]:
    """The whole service in a thread of this process, where parts of it can be exchanged; its port."""
    port = free_port()
    app = create_app(Settings(models=SHIPPED, state=state, worker="external"))
    server = uvicorn.Server(uvicorn.Config(app, port=port, http=HttpProtocol, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


Start = Callable[..., Server]


def _servers(folder: Path) -> Iterator[Start]:
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
        with httpx.Client() as client:  # to make one takes as long as many looks
            for _ in range(600):
                try:
                    if client.get(f"{server.url}/health/ready").is_success:
                        return server
                except httpx.TransportError:
                    assert process.poll() is None, log.read_text()
                    time.sleep(0.05)
        raise AssertionError(f"not ready: {log.read_text()}")

    yield start
    for server in servers:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.process.pid, signal.SIGKILL)  # with its worker processes
        server.process.wait()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Start]:
    """Starts servers with the arguments and settings given, and ends them with the test."""
    yield from _servers(tmp_path)


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of one server with the shipped version and default settings, for tests that do it no harm."""
    folder = tmp_path_factory.mktemp("server")
    models = shutil.copytree(SHIPPED, folder / "digits")
    servers = _servers(folder)
    server = next(servers)(DIGITS_MODELS=str(models), DIGITS_WORKER="external")
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client
    next(servers, None)


@pytest.fixture(scope="session")
def mnist() -> Digits:
    """The real MNIST; without DIGITS_DATA the test is skipped."""
    folder = os.environ.get("DIGITS_DATA")
    if not folder:
        pytest.skip("needs MNIST: set DIGITS_DATA to a folder of its four files")
    return load(Path(folder))


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in MNIST's format: 600 training and 100 test images, drawn by us."""
    return write_idx(tmp_path_factory.mktemp("data"), 600, 100)
