"""What the peers share: decoding a picture, the network in OpenVINO, and the reply."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from PIL import Image

CORES = len(os.sched_getaffinity(0))

# A batch of a new size costs the runtime milliseconds, so there are few sizes, and all are prepared at the start.
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


def read(content: bytes) -> NDArray[np.uint8]:
    """Decode a picture for the network: uint8 (28, 28)."""
    return fit(Image.open(io.BytesIO(content)))


def fit(image: Image.Image) -> NDArray[np.uint8]:
    """Resize a picture for the network: uint8 (28, 28)."""
    grey = image.convert("L")
    return np.asarray(grey if grey.size == (28, 28) else grey.resize((28, 28)))


def reply(probabilities: NDArray[np.float32]) -> dict[str, Any]:
    """The reply for ten probabilities."""
    digit = int(probabilities.argmax())
    return {"digit": digit, "confidence": float(probabilities[digit]), "probabilities": probabilities.tolist()}


class Network:
    """The first stage of the cascade, in int8, as our service asks it first. Not for two threads at once."""

    def __init__(self, threads: int) -> None:
        """Load it from the folder that NETWORK names and prepare every size."""
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # or several processes would share one core
        }
        core = openvino.Core()
        graph = core.read_model(Path(os.environ["NETWORK"], "model.xml"))
        first_stage = openvino.Model([graph.get_results()[-1]], graph.get_parameters())
        compiled = core.compile_model(first_stage, "CPU", options)
        self._request = compiled.create_infer_request()
        for size in BATCH_SIZES:
            self(np.zeros((size, 28, 28), np.uint8))

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (n, 28, 28), at most 64 images, to float32 (n, 10) probabilities."""
        count = len(images)
        batch = np.zeros((next(size for size in BATCH_SIZES if size >= count), 28, 28, 1), np.uint8)
        batch[:count, :, :, 0] = images
        probabilities: NDArray[np.float32] = self._request.infer({0: batch}, share_inputs=True)[0]
        return probabilities[:count].copy()
