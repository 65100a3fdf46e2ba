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

from app.parent_death_signal import with_parent_death_signal
from app.registry import store
from app.registry.manifest import Metrics
from training.calibration import nll
from training.data import Split
from training.errors import TrainingError
from training.image_folder import Answer, Picture

BATCH = 500
STARTUP_SECONDS = 60


@dataclass(frozen=True)
class Evaluation:
    """What the service replied to each image, in order.

    digits: (n,), -1 where it would not read the image. probabilities: float32 (n, 10), even ones there. labels:
    uint8 (n,). accepted: bool (n,), whether the answer was given without reserve.
    """

    digits: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    labels: NDArray[np.uint8]
    accepted: NDArray[np.bool_]

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of each answer, (n,)."""
        confidence: NDArray[np.float64] = self.probabilities.max(axis=1).astype(np.float64)
        return confidence

    def metrics(self) -> Metrics:
        """The figures for the card; what was not read counts as wrong, what was declined as what was answered."""
        probabilities = self.probabilities.astype(np.float64)
        correct = int((self.digits == self.labels).sum())
        counts, reliability = self.confusion(), self.reliability()
        right = np.diag(counts)
        gaps = [count * abs(sure - accuracy) for count, sure, accuracy in reliability if count]
        return Metrics(
            images=len(self.labels),
            correct=correct,
            accuracy=correct / len(self.labels),
            nll=round(nll(probabilities, self.labels), 6),
            brier=round(float(((probabilities - np.eye(10)[self.labels]) ** 2).sum(axis=1).mean()), 6),
            ece=round(sum(gaps) / len(self.labels), 6),
            accepted=round(float(self.accepted.mean()), 6),
            precision=_shares(right, counts.sum(axis=0)),
            recall=_shares(right, np.bincount(self.labels, minlength=10)),
            confusion=counts.tolist(),
            reliability=[
                [count, round(sure, 6), round(accuracy, 6)] if count else [0, None, None]
                for count, sure, accuracy in reliability
            ],
        )

    def confusion(self) -> NDArray[np.int64]:
        """Counts (10, 10) of the images that were read: true digit by answer."""
        read = self.digits >= 0
        places = self.labels[read] * np.int64(10) + self.digits[read]
        return np.bincount(places, minlength=100).reshape(10, 10)

    def reliability(self) -> list[tuple[int, float, float]]:
        """For each tenth of the range of confidence: images, their mean confidence, their accuracy; 0s for none."""
        confidence, right = self.confidence, self.digits == self.labels
        tenths = np.minimum((confidence * 10).astype(np.int64), 9)  # a confidence of 1 belongs to the last
        bins = [tenths == tenth for tenth in range(10)]
        return [
            (int(found.sum()), float(confidence[found].mean()), float(right[found].mean()))
            if found.any()
            else (0, 0, 0)
            for found in bins
        ]


def _shares(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> list[float | None]:
    return [
        round(part / whole, 6) if whole else None for part, whole in zip(parts.tolist(), wholes.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class Service:
    """A version that is being served."""

    client: httpx.Client

    def read(self, split: Split) -> Evaluation:
        """Send it every image as a PNG file."""
        entries: list[dict[str, Any]] = []
        for start in range(0, len(split), BATCH):
            files = [("file", ("image.png", png(image), "image/png")) for image in split.images[start : start + BATCH]]
            reply = self.client.post("/predict/batch", files=files).raise_for_status()
            entries += reply.json()["predictions"]
        return Evaluation(
            np.array([entry.get("digit", -1) for entry in entries], np.int64),
            np.array([entry.get("probabilities", [0.1] * 10) for entry in entries], np.float32),
            split.labels,
            np.array([entry.get("accepted", False) for entry in entries], np.bool_),
        )

    def answer(self, content: bytes, name: str = "image.png") -> Answer:
        """The reply to one file as it is; a refusal is one, too."""
        reply = self.client.post("/predict", files={"file": (name, content)})
        if reply.is_client_error:
            return Answer(None, 0.0, reply.json()["detail"])
        entry = reply.raise_for_status().json()
        return Answer(entry["digit"], entry["confidence"], (entry["reason"] or "").replace("_", " "))


def answers(version: Path, pictures: Sequence[Picture]) -> list[Answer]:
    """Serve the version in this folder and send it every file as it is.

    Raises TrainingError when the version cannot be served, or the service breaks.
    """
    with serving(version) as service:
        return [service.answer(picture.path.read_bytes(), picture.name) for picture in pictures]


@contextmanager
def serving(version: Path) -> Iterator[Service]:
    """The version in this folder, published or staged, behind the service for as long as the block runs.

    Raises TrainingError when the version cannot be served, or the service breaks.
    """
    try:
        with _service(version) as client:
            yield Service(client)
    except httpx.HTTPError as error:
        raise TrainingError(f"the service broke while {version} was measured: {error}") from None


@contextmanager
def _service(version: Path) -> Iterator[httpx.Client]:
    """The real service in a process of its own, on a socket in a temporary folder, with this version only."""
    try:
        number = store.read_manifest(version).version
    except store.VersionError as error:
        raise TrainingError(str(error)) from None
    # The path of a socket may have about 100 characters.
    roomy = "/tmp" if len(tempfile.gettempdir()) > 60 else None  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="digits-", dir=roomy) as temporary:
        models, address, log = Path(temporary, "models"), Path(temporary, "socket"), Path(temporary, "log")
        models.mkdir()
        (models / str(number)).symlink_to(version.resolve())
        (models / store.CURRENT).write_text(f"{number}\n")
        command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--uds", str(address)]
        command += ["--app-dir", str(Path(__file__).parent.parent)]
        # Only the defaults: an operator's limits must not change what is measured, nor must a busy
        # machine; and what is counted here is none of the service's that retrains.
        foreign = ("DIGITS_", "UVICORN_", "WEB_CONCURRENCY", "PROMETHEUS_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        ours = {"DIGITS_MODELS": str(models), "DIGITS_STATE": f"{temporary}/state", "DIGITS_WORKER": "external"}
        ours |= {"DIGITS_DEADLINE": "60"}
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  # our own command
                with_parent_death_signal(command),
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


def png(image: NDArray[np.uint8]) -> bytes:
    """A grey image as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
