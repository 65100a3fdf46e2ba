"""The networks of a version as a cascade: the smallest first, the ensemble with test-time augmentation last."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import ModelError
from app.inference.engine import Graph, Images, OpenVinoEngine, Probabilities
from app.registry import store
from app.registry.manifest import Manifest
from app.registry.store import FIRST_NETWORK_OUTPUT, FIRST_STAGE_OUTPUT

# Larger batches, for the first stage of a cascade. In a batch of 64 it takes a seventh less time for each image.
LARGE_BATCH_SIZES = (32, 64)

# Batches of the ensemble's first network. Others are split into these, since each size takes over 1 ms to prepare.
BATCH_SIZES = (1, 2, 4, 8, 16)

# Test-time augmentation: rotations in degrees, and shifts in pixels to the right and down. On 10,000 validation images
# two networks made 36 and 37 errors, and 33 together; with rotations 33, 33 and 31; with shifts too 30, 34 and 27.
# Shear and scaling did not help.
ANGLES = (-8, 8)
SHIFTS = ((1, 0), (-1, 0), (0, 1), (0, -1))
VIEWS = 1 + len(ANGLES) + len(SHIFTS)

# Below this confidence there is no test-time augmentation: networks learn to give even probabilities for what is not a
# digit. This skips two of three pictures of other things, and none of the 10,000 digits.
MIN_TTA_CONFIDENCE = 0.25

# The mean over views is underconfident, so its logits are scaled. On validation images, three pairs of networks had an
# NLL of 0.0150, 0.0153 and 0.0155, and without scaling 0.0152, 0.0156 and 0.0158. A larger scale is better for digits,
# but accepts letters.
LOGIT_SCALE = 1.1

_MIN_PROBABILITY = np.float32(1e-30)  # a probability of 0 has no logarithm


@dataclass(frozen=True)
class Stage:
    """One step of a cascade.

    Attributes:
        predict: Computes probabilities: uint8 (n, 28, 28) to float32 (n, 10). Two threads must not call it at once.
        max_batch_size: Most images in one run.
        threshold: Confidence from which on an answer is final. The next stage decides the others.
        min_confidence: Confidence below which an answer is final too, since no stage would recognise the image.
    """

    predict: Callable[[Images], Probabilities]
    max_batch_size: int
    threshold: float = 0.0
    min_confidence: float = 0.0

    def undecided(self, probabilities: Probabilities) -> list[int]:
        """Return the indices of the rows, of float32 (n, 10), that the next stage decides."""
        confidence = probabilities.max(axis=1)
        if confidence.min() >= self.threshold:  # nearly always
            return []
        rows: list[int] = np.flatnonzero((confidence < self.threshold) & (confidence >= self.min_confidence)).tolist()
        return rows


@dataclass(frozen=True)
class Cascade:
    """The stages of a version, the fastest first.

    Attributes:
        stages: At least one.
        is_fast: Whether a run of the first stage takes less than a millisecond, so that it can run on the event loop.
    """

    stages: tuple[Stage, ...]
    is_fast: bool

    def predict(self, images: Images) -> Probabilities:
        """Run all stages. The service runs them through ``Batcher`` instead.

        Args:
            images: uint8 (n, 28, 28).

        Returns:
            float32 (n, 10), softmax probabilities.
        """
        rows = np.empty((len(images), 10), np.float32)
        indices = np.arange(len(images))
        for stage in self.stages:
            undecided = []
            for start in range(0, len(indices), stage.max_batch_size):
                batch = indices[start : start + stage.max_batch_size]
                rows[batch] = stage.predict(images[batch])
                undecided += batch[stage.undecided(rows[batch])].tolist()
            indices = np.array(undecided, np.intp)
        return rows


def load_version(path: Path, threads: int) -> tuple[Manifest, Cascade]:
    """Verify, load and warm up a version. This takes most of a second.

    Args:
        path: Folder of the version.
        threads: Threads of one run. The first stage of a cascade always runs with one.

    Raises:
        ModelError: The version cannot be loaded. The text names the file and the reason.
    """
    try:
        version = store.verify(path)
    except store.VersionError as error:
        raise ModelError(str(error)) from None
    return version.manifest, load_cascade(Graph(version), threads)


def load_cascade(graph: Graph, threads: int) -> Cascade:
    """Compile the networks of a version.

    Args:
        graph: The version's networks.
        threads: Threads of one run. The first stage of a cascade always runs with one.

    Raises:
        ModelError: A network cannot be compiled.
    """
    manifest = graph.manifest
    stages = []
    if manifest.cascade_threshold is not None:
        sizes = (*range(1, OpenVinoEngine.MAX_BATCH_SIZE + 1), *LARGE_BATCH_SIZES)  # preparing each is quick
        first_stage = OpenVinoEngine(graph, 1, sizes, output=FIRST_STAGE_OUTPUT)
        stages.append(Stage(first_stage.predict, max(sizes), manifest.cascade_threshold))
    network = OpenVinoEngine(
        graph, threads, BATCH_SIZES, output=None if manifest.tta_threshold is None else FIRST_NETWORK_OUTPUT
    )
    stages.append(
        Stage(network.predict, OpenVinoEngine.MAX_BATCH_SIZE, manifest.tta_threshold or 0.0, MIN_TTA_CONFIDENCE)
    )
    if manifest.tta_threshold is not None:
        ensemble = OpenVinoEngine(graph, threads, (VIEWS,))
        stages.append(Stage(lambda images: augmented(ensemble.predict, images), 1))
    return Cascade(tuple(stages), is_fast=manifest.cascade_threshold is not None)


def augmented(predict: Callable[[Images], Probabilities], images: Images) -> Probabilities:
    """Predict with test-time augmentation: the geometric mean over the views of each image, with scaled logits.

    Args:
        predict: The ensemble, uint8 (VIEWS, 28, 28) to float32 (VIEWS, 10).
        images: uint8 (n, 28, 28).

    Returns:
        float32 (n, 10), probabilities.
    """
    return np.stack([geometric_mean(predict(views(image))) for image in images])


def views(image: NDArray[np.uint8]) -> Images:
    """Return an image with its rotations and shifts. Background, 0, comes in at the edges.

    Args:
        image: uint8 (28, 28).

    Returns:
        uint8 (VIEWS, 28, 28), the unchanged image first.
    """
    picture = Image.fromarray(image)
    rotated = [np.asarray(picture.rotate(angle, Image.Resampling.BILINEAR)) for angle in ANGLES]
    padded = np.pad(image, 1)
    shifted = [padded[1 - down : 29 - down, 1 - right : 29 - right] for right, down in SHIFTS]
    return np.stack([image, *rotated, *shifted])


def geometric_mean(probabilities: Probabilities) -> NDArray[np.float32]:
    """Return the geometric mean over views, with scaled logits: float32 (views, 10) to (10,)."""
    logits = LOGIT_SCALE * np.log(np.maximum(probabilities, _MIN_PROBABILITY)).mean(axis=0)
    mean = np.exp(logits - logits.max())
    result: NDArray[np.float32] = mean / mean.sum()
    return result
