"""The networks of a version as a cascade: small ones first, all of them with test-time augmentation last."""

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

# Larger batches for the first stage of a cascade, which takes a seventh less time for an image in one of 64.
LARGE_BATCH_SIZES = (32, 64)

# Batches of the network after it, of which others are made up: each takes a millisecond and more to prepare.
BATCH_SIZES = (1, 2, 4, 8, 16)

# Test-time augmentation: degrees by which an image is turned, and pixels by which it is moved, right and down. Of
# 10,000 validation images two networks had 36 and 37 errors, and together 33; with the turned ones 33 and 33, together
# 31; with the moved ones too 30 and 34, together 27. Slanted ones and other sizes did not help.
ANGLES = (-8, 8)
SHIFTS = ((1, 0), (-1, 0), (0, 1), (0, -1))
VIEWS = 1 + len(ANGLES) + len(SHIFTS)

# Test-time augmentation is not worth it below this confidence: networks learn to answer what is no digit with even
# probabilities. It leaves out two of three pictures of other things, and none of the 10,000 digits.
MIN_TTA_CONFIDENCE = 0.25

# Views that disagree are less confident together than they are correct, so their logits are scaled. Three pairs of
# networks gave NLL 0.0150, 0.0153 and 0.0155 on validation images, and 0.0152, 0.0156 and 0.0158 without. More would
# be better for digits, but takes letters for them.
LOGIT_SCALE = 1.1

_MIN_PROBABILITY = np.float32(1e-30)  # a probability of 0 has no logarithm


@dataclass(frozen=True)
class Stage:
    """One step of a cascade.

    Attributes:
        predict: uint8 (n, 28, 28) to float32 (n, 10). Not for two threads at once.
        max_batch_size: Most images in one run.
        threshold: Confidence from which on its answer stands. Below, the next stage is asked.
        min_confidence: Confidence below which its answer stands, too, as no other stage would recognise anything.
    """

    predict: Callable[[Images], Probabilities]
    max_batch_size: int
    threshold: float = 0.0
    min_confidence: float = 0.0

    def undecided(self, probabilities: Probabilities) -> list[int]:
        """The rows, of float32 (n, 10), for which the next stage is asked."""
        confidence = probabilities.max(axis=1)
        if confidence.min() >= self.threshold:  # as nearly always
            return []
        places: list[int] = np.flatnonzero((confidence < self.threshold) & (confidence >= self.min_confidence)).tolist()
        return places


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
        """All stages at once: uint8 (n, 28, 28) to float32 (n, 10). The service runs them through ``Batcher``."""
        rows = np.empty((len(images), 10), np.float32)
        places = np.arange(len(images))
        for stage in self.stages:
            undecided = []
            for start in range(0, len(places), stage.max_batch_size):
                part = places[start : start + stage.max_batch_size]
                rows[part] = stage.predict(images[part])
                undecided += part[stage.undecided(rows[part])].tolist()
            places = np.array(undecided, np.intp)
        return rows


def load_version(path: Path, threads: int) -> tuple[Manifest, Cascade]:
    """Verify, load and warm up a version. Takes a good part of a second.

    Args:
        path: Folder of the version.
        threads: Threads of one run, but for the first stage of a cascade, which gains nothing from more than one.

    Raises:
        ModelError: It names the file and the reason.
    """
    try:
        version = store.verify(path)
    except store.VersionError as error:
        raise ModelError(str(error)) from None
    return version.manifest, load_cascade(Graph(version), threads)


def load_cascade(graph: Graph, threads: int) -> Cascade:
    """Compile the networks of a version. Raises ModelError."""
    manifest = graph.manifest
    stages = []
    if manifest.cascade_threshold is not None:
        sizes = (*range(1, OpenVinoEngine.MAX_BATCH_SIZE + 1), *LARGE_BATCH_SIZES)  # a run of each is short
        small = OpenVinoEngine(graph, 1, sizes, output=FIRST_STAGE_OUTPUT)
        stages.append(Stage(small.predict, max(sizes), manifest.cascade_threshold))
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
    """Test-time augmentation: the geometric mean of what the views of each image give, with its logits scaled.

    Args:
        predict: The ensemble, uint8 (VIEWS, 28, 28) to float32 (VIEWS, 10).
        images: uint8 (n, 28, 28).

    Returns:
        float32 (n, 10).
    """
    return np.stack([geometric_mean(predict(views(image))) for image in images])


def views(image: NDArray[np.uint8]) -> Images:
    """An image, uint8 (28, 28), as it is, turned about its middle, and moved: (VIEWS, 28, 28). 0 comes in."""
    picture = Image.fromarray(image)
    turned = [np.asarray(picture.rotate(angle, Image.Resampling.BILINEAR)) for angle in ANGLES]
    padded = np.pad(image, 1)
    moved = [padded[1 - down : 29 - down, 1 - right : 29 - right] for right, down in SHIFTS]
    return np.stack([image, *turned, *moved])


def geometric_mean(probabilities: Probabilities) -> NDArray[np.float32]:
    """The geometric mean over views with its logits scaled: float32 (views, 10) to (10,)."""
    logits = LOGIT_SCALE * np.log(np.maximum(probabilities, _MIN_PROBABILITY)).mean(axis=0)
    mean = np.exp(logits - logits.max())
    result: NDArray[np.float32] = mean / mean.sum()
    return result
