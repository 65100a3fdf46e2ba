"""The service as a process with folders of its own, and clients that send at a fixed rate."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.processes import below, free_port
from training.evaluate import png

ROOT = Path(__file__).parent.parent
TOKEN = "token-of-the-benchmarks"  # noqa: S105  # of a service that nobody else can reach


@dataclass
class Service:
    """A service that can be started again in the same folders."""

    folder: Path
    data: Path
    workers: int = 1
    settings: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        shutil.copytree(ROOT / "models/digits", self.folder / "models")
        self.port = free_port()

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self) -> dict[str, str]:
        """Environment variables for the service and for its workers."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith("DIGITS_")}
        ours = {
            "DIGITS_MODELS": str(self.models),
            "DIGITS_STATE": str(self.state),
            "DIGITS_DATA": str(self.data),
            "DIGITS_ADMIN_TOKEN": TOKEN,
        }
        return plain | ours | self.settings

    def start(self) -> None:
        """Start it and wait until it is ready."""
        command = [sys.executable, "-m", "app", "--port", str(self.port), "--workers", str(self.workers)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603  # our own command
                command, env=self.environment(), cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        self.await_ready()

    def await_ready(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/health/ready").is_success:
                    return
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "the service does not get ready"
            time.sleep(0.05)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60)

    def kill(self) -> None:
        """Kill the service, its server processes and its worker, as a power failure would."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def find(self, word: str) -> int | None:
        """The process below the service whose command line has this word."""
        assert self.process is not None
        for pid in below(self.process.pid):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
                if word in command and "parent_death_signal" not in command:
                    return pid
        return None


@dataclass(frozen=True)
class Answer:
    """One reply under load.

    Attributes:
        image: Index of the image that was sent.
        version: That answered.
        probabilities: Ten.
        sent: When the request was due, in seconds since the load began.
        seconds: From then to the reply.
    """

    image: int
    version: int
    probabilities: tuple[float, ...]
    sent: float
    seconds: float


class Listening(Protocol):
    """Anything that listens on a port of this host."""

    port: int


class Load:
    """Single PNG uploads at a fixed rate over several connections, whether earlier ones were answered or not.

    The time of a reply counts from when its request was due, so that a pause of the service counts for all requests
    that had to wait. ``rate`` is requests a second over all clients.
    """

    def __init__(self, service: Listening, images: list[bytes], rate: float, clients: int = 4) -> None:
        self.answers: list[Answer] = []
        self.failed: list[str] = []
        self._service, self._images, self._pause = service, images, clients / rate
        self._ended = threading.Event()
        self._began = time.monotonic()
        self._threads = [threading.Thread(target=self._send, args=(number, clients)) for number in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def now(self) -> float:
        return time.monotonic() - self._began

    def _send(self, number: int, clients: int) -> None:
        random = np.random.default_rng(number)
        connection = http.client.HTTPConnection("127.0.0.1", self._service.port, timeout=30)
        due = self._pause * number / clients
        while not self._ended.wait(max(0.0, due - self.now())):
            image = int(random.integers(len(self._images)))
            try:
                connection.request("POST", "/predict", self._images[image], {"Content-Type": "image/png"})
                reply = connection.getresponse()
                body = reply.read()
                if reply.status != 200:
                    raise OSError(f"status {reply.status}: {body[:200]!r}")
                found = json.loads(body)
                told = Answer(image, found["model"]["version"], tuple(found["probabilities"]), due, self.now() - due)
                self.answers.append(told)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failed.append(f"after {due:.1f} s: {error!r}")
                connection.close()
            due += self._pause
        connection.close()

    def percentiles(self, begin: float, end: float) -> tuple[float, float, int]:
        """p50 and p99 in milliseconds and the number of replies that were due in these seconds."""
        times = [answer.seconds for answer in self.answers if begin <= answer.sent < end]
        p50, p99 = np.percentile(times, (50, 99)) * 1000
        return float(p50), float(p99), len(times)


def accuracy(client: httpx.Client, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> float:
    """Share of the images that are read correctly, sent as PNG files."""
    correct = 0
    for start in range(0, len(images), 500):
        files = [("file", ("image.png", png(image), "image/png")) for image in images[start : start + 500]]
        reply = client.post("/predict/batch", files=files)
        reply.raise_for_status()
        answers = [entry.get("digit", -1) for entry in reply.json()["predictions"]]
        correct += int((np.array(answers) == labels[start : start + 500]).sum())
    return correct / len(images)
