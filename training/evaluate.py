"""Measures a version through the running service: from image bytes to reply."""

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
        models, socket, log = Path(temporary, "models"), Path(temporary, "socket"), Path(temporary, "log")
        models.mkdir()
        (models / str(number)).symlink_to(version.resolve())
        (models / versions.CURRENT).write_text(f"{number}\n")
        command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--uds", str(socket)]
        command += ["--app-dir", str(Path(__file__).parent.parent)]
        # Only the defaults: an operator's limits must not change what is measured.
        foreign = ("DIGITS_", "UVICORN_", "WEB_CONCURRENCY")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  # our own command
                command, env=environment | {"DIGITS_MODELS": str(models)}, stdout=output, stderr=output
            )
        try:
            with httpx.Client(
                transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://digits", timeout=60
            ) as client:
                _await_ready(client, process, log)
                yield client
        finally:
            process.terminate()
            process.wait()


def _await_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise TrainingError(f"the service does not start with this version: {_last_message(log)}")
        try:
            if client.get("/health/ready").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TrainingError(f"the service did not get ready within {STARTUP_SECONDS} seconds")


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
