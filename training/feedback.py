"""Corrections by users of the service, from the archive that it exports."""

import io
import json
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.data import Split
from training.errors import TrainingError

LIST = "feedback.jsonl"
SIDE = 28

# Far more than people correct, and far less than fills the memory: a million images are 784 MB.
MAX_CORRECTIONS = 1_000_000
MAX_LIST_BYTES = MAX_CORRECTIONS * 300
MAX_IMAGE_BYTES = 20_000  # a PNG of 28x28 random greys has under 1,000

# What zipfile and Pillow raise for content that is damaged.
DAMAGE_ERRORS = (OSError, EOFError, RuntimeError, SyntaxError, ValueError, struct.error, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Feedback:
    """Corrected images; either split may have none.

    Attributes:
        train: to learn from.
        held_out: to measure on, never learned from.
    """

    train: Split
    held_out: Split


def load(path: Path) -> Feedback:
    """Read an archive: a ZIP file of ``feedback.jsonl``, one correction a line, and the images that it names.

    A line has ``label``, ``held_back`` (whether it is held out) and ``seen``, the name of a grey 28x28 PNG file; other
    keys are ignored.

    Raises:
        TrainingError: when anything is missing, damaged or out of range; it names the archive and the entry.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path)
    except FileNotFoundError:
        raise TrainingError(f"{path} is missing; expected an archive of feedback") from None
    except DAMAGE_ERRORS as error:
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error).lower()
        raise TrainingError(f"{path} cannot be read as a ZIP file ({reason}); export the feedback again") from None


def mix(mnist: Split, feedback: Split, *, share: float, images: int | None, seed: int) -> Split:
    """Mix images of MNIST with feedback.

    Args:
        mnist: to choose from, at random.
        feedback: may be empty.
        share: of the feedback in the mix, over 0 and under 1. Feedback is repeated as often as that takes, each image
            as often as any other or once more.
        images: how many of MNIST; None for all of them, in their order.
        seed: of the choice.

    Returns:
        MNIST's images, then the feedback.
    """
    random = np.random.default_rng(seed)
    chosen = mnist
    if images is not None and images < len(mnist):
        some = random.permutation(len(mnist))[:images]
        chosen = Split(mnist.images[some], mnist.labels[some])
    if not len(feedback):
        return chosen
    times, more = divmod(round(len(chosen) * share / (1 - share)), len(feedback))
    order = random.permutation(len(feedback))
    repeated = np.concatenate([*[order] * times, order[:more]])
    return Split(
        np.concatenate([chosen.images, feedback.images[repeated]]),
        np.concatenate([chosen.labels, feedback.labels[repeated]]),
    )


def _read(archive: zipfile.ZipFile, path: Path) -> Feedback:
    images: dict[bool, list[NDArray[np.uint8]]] = {False: [], True: []}
    labels: dict[bool, list[int]] = {False: [], True: []}
    lines = _content(archive, LIST, MAX_LIST_BYTES, path).splitlines()
    if len(lines) > MAX_CORRECTIONS:
        raise TrainingError(f"{path}: {LIST} has {len(lines):,} lines; at most {MAX_CORRECTIONS:,} are read")
    for number, line in enumerate(lines, start=1):
        try:
            label, held_back, seen = _fields(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise TrainingError(f"{path}: line {number} of {LIST} is no correction: {error}") from None
        images[held_back].append(_image(_content(archive, seen, MAX_IMAGE_BYTES, path), f"{path}: {seen}"))
        labels[held_back].append(label)

    def split(held_back: bool) -> Split:
        stacked = np.array(images[held_back], np.uint8).reshape(-1, SIDE, SIDE)
        return Split(stacked, np.array(labels[held_back], np.uint8))

    return Feedback(train=split(False), held_out=split(True))


def _fields(values: Any) -> tuple[int, bool, str]:
    """Label, held_back and seen. Raises ValueError that names the field that is wrong."""
    if not isinstance(values, dict):
        raise ValueError("it is not a JSON object")
    label, held_back, seen = (values.get(name) for name in ("label", "held_back", "seen"))
    if type(label) is not int or not 0 <= label <= 9:
        raise ValueError(f"its label is {label!r:.20}; expected 0 to 9")
    if not isinstance(held_back, bool):
        raise ValueError(f"its held_back is {held_back!r:.20}; expected true or false")
    if not isinstance(seen, str):
        raise ValueError(f"its seen is {seen!r:.20}; expected the name of a PNG file")
    return label, held_back, seen


def _content(archive: zipfile.ZipFile, name: str, largest: int, path: Path) -> bytes:
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise TrainingError(f"{path}: {name[:100]} is missing in it") from None
    if entry.file_size > largest:  # zipfile reads no more than an entry says that it has
        raise TrainingError(f"{path}: {name} has {entry.file_size:,} bytes; at most {largest:,} are read")
    try:
        return archive.read(entry)
    except DAMAGE_ERRORS as error:
        raise TrainingError(f"{path}: {name} is damaged ({error})") from None


def _image(content: bytes, name: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.size != (SIDE, SIDE) or image.mode != "L":
                width, height = image.size
                raise TrainingError(f"{name} is {width}x{height} of mode {image.mode}; expected 28x28 grey")
            return np.asarray(image)
    except (*DAMAGE_ERRORS, Image.DecompressionBombError):
        raise TrainingError(f"{name} is no PNG file that can be read") from None
