"""Measures a version through the running service: from image bytes to reply."""

import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training import versions
from training.card import Metrics
from training.data import Split
from training.errors import TrainingError
from training.pictures import Answer, Picture
from training.tether import tethered

BATCH = 500
STARTUP_SECONDS = 60


@dataclass(frozen=True)
class Evaluation:
    """What the service replied to each image, in order.

    digits: (n,), -1 where it would not read the image. probabilities: float32 (n, 10), even ones there.
    """

    digits: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    labels: NDArray[np.uint8]

    def metrics(self) -> Metrics:
        given = self.probabilities[np.arange(len(self.labels)), self.labels].astype(np.float64)
        correct = int((self.digits == self.labels).sum())
        return Metrics(
            images=len(self.labels),
            correct=correct,
            accuracy=correct / len(self.labels),
            nll=round(float(-np.log(np.maximum(given, 1e-12)).mean()), 6),
        )


def evaluate(version: Path, split: Split) -> Evaluation:
    """Serve the version in this folder, published or staged, and send it every image as a PNG file.

    Raises TrainingError when the version cannot be served, or the service breaks.
    """
    try:
        entries = _replies(version, split)
    except httpx.HTTPError as error:
        raise TrainingError(f"the service broke while {version} was measured: {error}") from None
    return Evaluation(
        np.array([entry.get("digit", -1) for entry in entries]),
        np.array([entry.get("probabilities", [0.1] * 10) for entry in entries], np.float32),
        split.labels,
    )


def answers(version: Path, pictures: Sequence[Picture]) -> list[Answer]:
    """Serve the version in this folder and send it every file as it is.

    Raises TrainingError when the version cannot be served, or the service breaks.
    """
    try:
        with _service(version) as client:
            return [_answer(client, picture.path) for picture in pictures]
    except httpx.HTTPError as error:
        raise TrainingError(f"the service broke while {version} was measured: {error}") from None


def _answer(client: httpx.Client, path: Path) -> Answer:
    """The reply to one file; a refusal is one, too."""
    reply = client.post("/predict", files={"file": (path.name, path.read_bytes())})
    if reply.is_client_error:
        return Answer(None, 0.0, reply.json()["detail"])
    content = reply.raise_for_status().json()
    return Answer(content["digit"], content["confidence"])


def _replies(version: Path, split: Split) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    with _service(version) as client:
        for start in range(0, len(split), BATCH):
            files = [("file", ("image.png", _png(image), "image/png")) for image in split.images[start : start + BATCH]]
            reply = client.post("/predict/batch", files=files)
            reply.raise_for_status()
            entries += reply.json()["predictions"]
    return entries


@contextmanager
def _service(version: Path) -> Iterator[httpx.Client]:
    """The real service in a process of its own, on a socket in a temporary folder, with this version only."""
    try:
        number = versions.card_of(version).version
    except versions.VersionError as error:
        raise TrainingError(str(error)) from None
    # The path of a socket may have about 100 characters.
    roomy = "/tmp" if len(tempfile.gettempdir()) > 60 else None  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="digits-", dir=roomy) as temporary:
        models, address, log = Path(temporary, "models"), Path(temporary, "socket"), Path(temporary, "log")
        models.mkdir()
        (models / str(number)).symlink_to(version.resolve())
        (models / versions.CURRENT).write_text(f"{number}\n")
        command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--uds", str(address)]
        command += ["--app-dir", str(Path(__file__).parent.parent)]
        # Only the defaults: an operator's limits must not change what is measured.
        foreign = ("DIGITS_", "UVICORN_", "WEB_CONCURRENCY")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        ours = {"DIGITS_MODELS": str(models), "DIGITS_STATE": f"{temporary}/state", "DIGITS_WORKER": "external"}
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  # our own command
                tethered(command),
                env=environment | ours,
                stdout=output,
                stderr=output,
            )
        try:
            with httpx.Client(
                transport=httpx.HTTPTransport(uds=str(address)), base_url="http://digits", timeout=60
            ) as client:
                _await_ready(client, process, address, log)
                yield client
        finally:
            process.terminate()
            process.wait()


def _await_ready(client: httpx.Client, process: subprocess.Popen[bytes], address: Path, log: Path) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise TrainingError(f"the service does not start with this version: {_last_message(log)}")
        with suppress(httpx.TransportError):
            if listens(address) and client.get("/health/ready").is_success:
                return
        time.sleep(0.05)
    raise TrainingError(f"the service did not get ready within {STARTUP_SECONDS} seconds")


def listens(address: Path) -> bool:
    """Whether a server takes connections at this socket's path: one has a path before it listens.

    httpx cannot be asked: it leaves a socket open for every such connection that fails.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(address)) == 0


def _last_message(log: Path) -> str:
    last = (log.read_text(errors="replace").strip().splitlines() or ["no word"])[-1]
    try:
        return str(json.loads(last)["message"])
    except (ValueError, KeyError, TypeError):
        return last


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
