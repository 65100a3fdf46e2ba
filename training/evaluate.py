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
from sklearn.metrics import brier_score_loss, confusion_matrix, precision_recall_fscore_support

from app.parent_death_signal import with_parent_death_signal
from app.registry import store
from app.registry.manifest import Metrics
from training.calibration import nll, normalised
from training.data import Split
from training.errors import TrainingError
from training.image_folder import Answer, Picture

BATCH_SIZE = 500
STARTUP_SECONDS = 60


@dataclass(frozen=True)
class Evaluation:
    """What the service replied to each image, in order.

    Attributes:
        digits: int64 (n,), -1 where it did not read the image.
        probabilities: float32 (n, 10), all 0.1 there.
        labels: uint8 (n,).
        accepted: bool (n,), whether the answer was accepted.
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

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each answer is the label, bool (n,)."""
        return np.asarray(self.digits == self.labels)

    def metrics(self) -> Metrics:
        """The figures for the manifest. An image that was not read counts as an error; a rejected answer counts too."""
        correct, images, reliability = int(self.correct.sum()), len(self.labels), self.reliability()
        precision, recall, _, _ = precision_recall_fscore_support(
            self.labels, self.digits, labels=range(10), zero_division=np.nan
        )
        gaps = [count * abs(confidence - accuracy) for count, confidence, accuracy in reliability if count]
        brier = brier_score_loss(self.labels, normalised(self.probabilities), labels=range(10), scale_by_half=False)
        return Metrics(
            images=images,
            correct=correct,
            accuracy=correct / images,
            nll=round(nll(self.probabilities, self.labels), 6),
            brier=round(float(brier), 6),
            ece=round(sum(gaps) / images, 6),
            accepted=round(float(self.accepted.mean()), 6),
            precision=_rounded(precision),
            recall=_rounded(recall),
            confusion=self.confusion().tolist(),
            reliability=[
                [count, round(confidence, 6), round(accuracy, 6)] if count else [0, None, None]
                for count, confidence, accuracy in reliability
            ],
        )

    def confusion(self) -> NDArray[np.int64]:
        """Counts (10, 10) of the images that were read, a row for each label and a column for each answer."""
        read = self.digits >= 0
        if not read.any():
            return np.zeros((10, 10), np.int64)
        return np.asarray(confusion_matrix(self.labels[read], self.digits[read], labels=range(10)))

    def reliability(self) -> list[tuple[int, float, float]]:
        """For each tenth of the range of confidence: images, their mean confidence and accuracy; zeros for no image."""
        confidence, correct = self.confidence, self.correct
        tenths = np.minimum((confidence * 10).astype(np.int64), 9)  # a confidence of 1 belongs to the last
        bins = [tenths == tenth for tenth in range(10)]
        return [
            (int(found.sum()), float(confidence[found].mean()), float(correct[found].mean()))
            if found.any()
            else (0, 0, 0)
            for found in bins
        ]


def _rounded(shares: NDArray[np.float64]) -> list[float | None]:
    """Shares as the manifest has them: null where there is nothing to divide by."""
    return [None if np.isnan(share) else round(float(share), 6) for share in shares]


@dataclass(frozen=True)
class Service:
    """A version that is being served."""

    client: httpx.Client

    def read(self, split: Split) -> Evaluation:
        """Send every image as a PNG file."""
        entries: list[dict[str, Any]] = []
        for start in range(0, len(split), BATCH_SIZE):
            files = [
                ("file", ("image.png", png(image), "image/png")) for image in split.images[start : start + BATCH_SIZE]
            ]
            reply = self.client.post("/predict/batch", files=files).raise_for_status()
            entries += reply.json()["predictions"]
        return Evaluation(
            np.array([entry.get("digit", -1) for entry in entries], np.int64),
            np.array([entry.get("probabilities", [0.1] * 10) for entry in entries], np.float32),
            split.labels,
            np.array([entry.get("accepted", False) for entry in entries], np.bool_),
        )

    def answer(self, content: bytes, name: str = "image.png") -> Answer:
        """Send one file as it is; a file that the service refuses has an answer too."""
        reply = self.client.post("/predict", files={"file": (name, content)})
        if reply.is_client_error:
            return Answer(None, 0.0, reply.json()["detail"])
        entry = reply.raise_for_status().json()
        return Answer(entry["digit"], entry["confidence"], (entry["reason"] or "").replace("_", " "))


def answers(version: Path, pictures: Sequence[Picture]) -> list[Answer]:
    """Serve the version in a folder and send it every file as it is.

    Raises:
        TrainingError: when the version cannot be served, or the service breaks.
    """
    with serving(version) as service:
        return [service.answer(picture.path.read_bytes(), picture.name) for picture in pictures]


@contextmanager
def serving(version: Path) -> Iterator[Service]:
    """Serve the version in a folder, published or staged, while the block runs.

    Raises:
        TrainingError: when the version cannot be served, or the service breaks.
    """
    try:
        with _service(version) as client:
            yield Service(client)
    except httpx.HTTPError as error:
        raise TrainingError(f"the service broke while {version} was measured: {error}") from None


@contextmanager
def _service(version: Path) -> Iterator[httpx.Client]:
    """The real service in a process of its own, on a socket in a temporary folder, with this version alone."""
    try:
        number = store.read_manifest(version).version
    except store.VersionError as error:
        raise TrainingError(str(error)) from None
    # The path of a socket may have about 100 characters.
    short = "/tmp" if len(tempfile.gettempdir()) > 60 else None  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="digits-", dir=short) as temporary:
        models, address, log = Path(temporary, "models"), Path(temporary, "socket"), Path(temporary, "log")
        models.mkdir()
        (models / str(number)).symlink_to(version.resolve())
        (models / store.CURRENT).write_text(f"{number}\n")
        command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:create_app", "--uds", str(address)]
        command += ["--app-dir", str(Path(__file__).parent.parent)]
        # Only the defaults: neither an operator's limits nor a busy machine may change what is measured, and these
        # requests do not count as the running service's.
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
    """Whether a server takes connections at this socket's path, which exists before it listens.

    Asking httpx would leave a socket open for every connection that fails.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(address)) == 0


def _last_message(log: Path) -> str:
    last = (log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"])[-1]
    try:
        return str(json.loads(last)["message"])
    except (ValueError, KeyError, TypeError):
        return last


def png(image: NDArray[np.uint8]) -> bytes:
    """A grey image as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
