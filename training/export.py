"""From a Keras network to a version folder that can be served: both forms of it, and its card."""

import importlib.metadata
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import openvino
from numpy.typing import NDArray

from training import versions
from training.card import Card
from training.errors import TrainingError

# How far the two forms may differ in any probability: float32 rounding through a dozen layers gives about 1e-6.
AGREEMENT = 1e-4

# Ranges that networks made elsewhere were trained on, as scale and offset of the bytes.
RANGES = {"0..255": (1.0, 0.0), "0..1": (1 / 255, 0.0), "-1..1": (2 / 255, -1.0)}


def stage(network: keras.Model, folder: Path, **about: Any) -> Card:
    """Write ``network`` as an unpublished version into ``folder``: both forms and ``card.json``.

    network: uint8 (n, 28, 28, 1) in, float32 (n, 10) probabilities out.
    about: further fields of the card. Raises TrainingError when the network is not fit to serve.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network.save(folder / versions.KERAS)
    # What is served is made from the file, not from the network in memory: the file is the artifact of record.
    saved = keras.saving.load_model(folder / versions.KERAS, compile=False)
    _to_openvino(saved, folder)
    _check(saved, folder / versions.GRAPH)
    card = Card(
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        parameters=saved.count_params(),
        files={name: versions.digest(folder / name) for name in versions.ARTIFACTS},
        libraries=_libraries(),
        **about,
    )
    (folder / versions.CARD).write_text(card.to_json())
    return card


def adopt(path: Path, pixels: str = "0..255") -> keras.Model:
    """A network made elsewhere, with whatever it needs in front so that it takes 28x28 bytes.

    path: a ``.keras`` (or Keras ``.h5``) file whose input is 28x28, 28x28x1 or 784 numbers.
    pixels: the range of numbers that it was trained on, one of RANGES.
    Raises TrainingError with the reason when it cannot be served.
    """
    if not path.is_file():
        raise TrainingError(f"{path} is not a file")
    try:
        network = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its layers raise; all of it means the same here
        raise TrainingError(f"{path} is not a Keras file that can be loaded: {_first_line(error)}") from None
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise TrainingError(f"{path} has {len(network.inputs)} inputs and {len(network.outputs)} outputs; expected one")
    shape = tuple(network.inputs[0].shape[1:])
    if shape not in ((28, 28), (28, 28, 1), (784,)):
        raise TrainingError(f"{path} takes images of shape {shape}; expected (28, 28), (28, 28, 1) or (784,)")
    if tuple(network.outputs[0].shape[1:]) != (10,):
        raise TrainingError(f"{path} gives {tuple(network.outputs[0].shape[1:])} values; expected ten probabilities")
    if shape == (28, 28, 1) and network.inputs[0].dtype == "uint8" and pixels == "0..255":
        return network
    scale, offset = RANGES[pixels]
    image = keras.Input((28, 28, 1), dtype="uint8", name="image")
    x = keras.layers.Rescaling(scale, offset, name="to_its_range")(image)
    return keras.Model(image, network(keras.layers.Reshape(shape, name="to_its_shape")(x)), name=network.name)


def _to_openvino(network: keras.Model, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        _quietly(lambda: network.export(f"{temporary}/model.xml", format="openvino", verbose=False))
        graph = openvino.Core().read_model(f"{temporary}/model.xml")
        graph.set_rt_info(versions.digest(folder / versions.KERAS), ["digits", "source_sha256"])
        openvino.save_model(graph, folder / versions.GRAPH, compress_to_fp16=False)


def _check(network: keras.Model, graph: Path) -> None:
    images = _check_images()
    by_keras = np.asarray(network(images[..., None], training=False))
    if by_keras.shape != (len(images), 10):
        raise TrainingError(f"the network gives {by_keras.shape[1:]} values an image; expected ten probabilities")
    if not np.isfinite(by_keras).all():
        raise TrainingError("the network gives values that are not finite")
    if by_keras.min() < -1e-6 or np.abs(by_keras.sum(axis=1) - 1).max() > 1e-3:
        raise TrainingError("the ten values do not sum to one: end the network with a softmax")
    if np.ptp(by_keras, axis=0).max() < 1e-6:
        raise TrainingError("the network gives every image the same values: it has not learned anything")
    by_openvino = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(
        {0: images[..., None]}
    )[0]
    difference = float(np.abs(by_keras - by_openvino).max())
    if difference > AGREEMENT:
        raise TrainingError(f"Keras and OpenVINO differ by {difference:.2g} in a probability; expected {AGREEMENT:g}")


def _check_images() -> NDArray[np.uint8]:
    """Strokes at random: images on which networks for digits are neither blind nor sure."""
    random = np.random.default_rng(0)
    images = np.zeros((64, 28, 28), np.float32)
    for image in images:
        for _ in range(random.integers(1, 4)):
            start, end = random.uniform(5, 23, (2, 2))
            for share in np.linspace(0, 1, 40):
                y, x = start + (end - start) * share
                yy, xx = np.mgrid[:28, :28]
                np.maximum(image, np.clip(2.2 - np.hypot(yy - y, xx - x), 0, 1), out=image)
    return np.rint(images * 255).astype(np.uint8)


def _libraries() -> dict[str, str]:
    names = ("keras", "tensorflow-cpu", "tensorflow", "openvino", "numpy")
    found = {}
    for name in names:
        try:
            found[name.removesuffix("-cpu")] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _quietly(action: Callable[[], Any]) -> None:
    """Run an exporter; its failures are the network's fault."""
    try:
        action()
    except Exception as error:  # the converter raises its own types and the backend's
        raise TrainingError(f"the network cannot be written for OpenVINO: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def renew(folder: Path) -> None:
    """Make ``folder`` exist and be empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
