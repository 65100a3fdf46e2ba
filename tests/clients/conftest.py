"""Fixtures for the clients of others: the service as a process, pictures, and what /predict says of them.

These tests run in an environment without the service (``make test-clients``), so they import nothing of it.
"""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parent.parent.parent
TOKEN = "token-of-the-tests"


@pytest.fixture(scope="session")
def authorised() -> dict[str, str]:
    """The header with the admin token."""
    return {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="session")
def pictures() -> Path:
    """A folder of pictures, each named for what it shows."""
    return ROOT / "tests" / "images"


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Host and port of the service as its users start it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    python = os.environ.get("DIGITS_PYTHON", str(ROOT / ".venv" / "bin" / "python"))
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("DIGITS_", "PYTHON"))}
    with tempfile.TemporaryDirectory() as scratch:
        models = Path(scratch) / "digits"
        models.mkdir()
        (models / "1").symlink_to(ROOT / "models" / "digits" / "1")
        (models / "CURRENT").write_text("1\n")
        ours = {
            "DIGITS_MODELS": str(models),
            "DIGITS_STATE": f"{scratch}/state",
            "DIGITS_ADMIN_TOKEN": TOKEN,
            "DIGITS_WORKER": "external",
        }
        log = Path(scratch) / "log"
        with log.open("wb") as output:
            command = [python, "-m", "app", "--port", str(port), "--workers", "1"]
            process = subprocess.Popen(command, env=plain | ours, cwd=ROOT, stdout=output, stderr=output)
        try:
            for _ in range(600):
                assert process.poll() is None, log.read_text()
                try:
                    if requests.get(f"http://127.0.0.1:{port}/health/ready", timeout=10).ok:
                        break
                except requests.ConnectionError:
                    time.sleep(0.05)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="session")
def images(pictures: Path) -> NDArray[np.uint8]:
    """64 images, uint8 (64, 28, 28): a seven, moved, fainter, and with noise."""
    seven = np.asarray(Image.open(pictures / "seven-28x28.png").convert("L"))
    random = np.random.default_rng(0)
    moved = [np.roll(seven, random.integers(-2, 3, 2), (0, 1)) for _ in range(64)]
    faint = np.stack(moved) * random.uniform(0.5, 1, (64, 1, 1))
    return np.clip(faint + random.integers(0, 16, (64, 28, 28)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def expected(address: str, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What /predict/batch says of the images, float32 (64, 10)."""
    reply = requests.post(
        f"http://{address}/predict/batch",
        data=images.tobytes(),
        headers={"content-type": "application/octet-stream"},
        timeout=60,
    )
    return np.array([entry["probabilities"] for entry in reply.json()["predictions"]], np.float32)


@pytest.fixture(scope="session")
def predict(address: str) -> Callable[[bytes], dict[str, Any]]:
    """What /predict says of a picture."""

    def call(picture: bytes) -> dict[str, Any]:
        return dict(requests.post(f"http://{address}/predict", files={"file": picture}, timeout=60).json())

    return call
