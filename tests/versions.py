"""Versions of the model that can be told apart by what they answer."""

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from app.inference.ensemble import load_version
from tests.conftest import SHIPPED
from training import versions


def shipped(models: Path) -> Path:
    """A folder of versions of its own, with the one that ships."""
    return Path(shutil.copytree(SHIPPED, models))


def add(models: Path, number: int) -> Path:
    """The shipped network once more, under another number and leaning towards the digit of that number."""
    path = models / str(number)
    shutil.copytree(SHIPPED / str(versions.current(SHIPPED)), path)
    weights = bytearray((path / versions.WEIGHTS).read_bytes())
    for layer in ElementTree.parse(path / versions.GRAPH).iter("data"):
        if layer.get("shape") == "1, 10":  # the biases of the ten scores, of each member
            np.frombuffer(weights, np.float32, 10, int(layer.attrib["offset"]))[number % 10] += 12
    (path / versions.WEIGHTS).write_bytes(weights)
    describe(path, version=number)
    return path


def describe(path: Path, **changes: object) -> None:
    """Write the version's card anew, with the digests of its files as they are now."""
    card = json.loads((path / versions.CARD).read_text())
    card["files"] = {name: versions.digest(path / name) for name in card["files"]}
    (path / versions.CARD).write_text(json.dumps(card | changes))


def answer(models: Path, number: int, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a version says to one image, float32 (10,)."""
    _, cascade = load_version(models / str(number), threads=1)
    row: NDArray[np.float32] = cascade.predict(image[None])[0]
    return row


def point(models: Path, text: str) -> None:
    """Let CURRENT hold this, replaced as a careful hand does it."""
    beside = models / "CURRENT.new"
    beside.write_text(text)
    beside.replace(models / versions.CURRENT)
