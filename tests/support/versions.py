"""Versions of the model that can be told apart by what they answer."""

import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from app.inference.ensemble import load_version
from app.registry import store
from app.registry.manifest import Manifest
from tests.support.paths import ROOT

# The version that the project comes with, alone: others may have been published into the checkout.
_folder = tempfile.TemporaryDirectory(prefix="digits-shipped-")
SHIPPED = Path(_folder.name) / "digits"
shutil.copytree(ROOT / "models" / "digits" / "1", SHIPPED / "1")
(SHIPPED / "CURRENT").write_text("1\n")


def shipped(models: Path) -> Path:
    """A folder of versions of its own, with the one that ships."""
    return Path(shutil.copytree(SHIPPED, models))


def add(models: Path, number: int) -> Path:
    """The shipped network once more, under another number and leaning towards the digit of that number."""
    path = models / str(number)
    shutil.copytree(SHIPPED / str(store.current(SHIPPED)), path)
    weights = bytearray((path / store.WEIGHTS).read_bytes())
    for layer in ElementTree.parse(path / store.GRAPH).iter("data"):
        if layer.get("shape") == "1, 10":  # the biases of the ten scores, of each member
            np.frombuffer(weights, np.float32, 10, int(layer.attrib["offset"]))[number % 10] += 12
    (path / store.WEIGHTS).write_bytes(weights)
    describe(path, version=number)
    return path


def describe(path: Path, **changes: Any) -> None:
    """Write the version's manifest anew, with the digests of its files as they are now."""
    manifest = Manifest.from_json((path / store.MANIFEST).read_bytes())
    files = {name: store.digest(path / name) for name in manifest.files}
    (path / store.MANIFEST).write_text(dataclasses.replace(manifest, files=files, **changes).to_json())


def answer(models: Path, number: int, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a version says to one image, float32 (10,)."""
    _, cascade = load_version(models / str(number), threads=1)
    row: NDArray[np.float32] = cascade.predict(image[None])[0]
    return row


def point(models: Path, text: str) -> None:
    """Let CURRENT hold this, replaced as a careful hand does it."""
    beside = models / "CURRENT.new"
    beside.write_text(text)
    beside.replace(models / store.CURRENT)
