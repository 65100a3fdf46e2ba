"""A version's network in the formats of other runtimes, each read back by its own before it counts as written."""

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from app.registry import store
from training.errors import TrainingError
from training.export import MAX_DIFFERENCE

Images = NDArray[np.uint8]
Predict = Callable[[Images], NDArray[np.float32]]


@dataclass(frozen=True)
class Format:
    """How to write a network in a format, and how to run it.

    Attributes:
        write: takes a network, the folder of its version, and the path to write.
        read: takes that path and gives a function from uint8 (n, 28, 28, 1) to float32 (n, 10).
        suffix: of the path; empty where it is a folder.
    """

    write: Callable[[keras.Model, Path, Path], None]
    read: Callable[[Path], Predict]
    suffix: str = ""


def convert(version: Path, name: str, output: Path, images: Images) -> tuple[int, float]:
    """Write a version in a format, read it back, and compare digits and probabilities.

    Args:
        version: a folder that was verified.
        name: one of FORMATS.
        output: the path to write. It appears only when the results agree.
        images: to compare on, uint8 (n, 28, 28).

    Returns:
        How many images were compared, and the largest difference in a probability.

    Raises:
        TrainingError: when the results differ, or a library is missing.
    """
    chosen = FORMATS[name]
    if output.exists():
        raise TrainingError(f"{output} is there already; remove it or choose another place with --output")
    output.parent.mkdir(parents=True, exist_ok=True)
    network = keras.saving.load_model(version / store.KERAS, compile=False)
    batch = images[..., None]
    expected = np.asarray(network(batch, training=False))
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".export-") as temporary:
        written = Path(temporary) / f"network{chosen.suffix}"
        try:
            with _silenced():
                chosen.write(network, version, written)
                predict = chosen.read(written)
        except ImportError as error:
            raise TrainingError(f"{name} needs {error.name}: pip install '.[formats]'") from None
        found = predict(batch)
        difference = float(np.abs(expected - found).max())
        if difference > MAX_DIFFERENCE or not np.array_equal(expected.argmax(axis=1), found.argmax(axis=1)):
            raise TrainingError(f"{name}: read back, a probability differs by {difference:.2g}; nothing was written")
        shutil.move(written, output)
    return len(images), difference


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Exporters print every step to standard output."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _write_json_h5(network: keras.Model, version: Path, path: Path) -> None:
    path.mkdir()
    (path / "architecture.json").write_text(json.dumps(json.loads(network.to_json()), indent=2))
    network.save_weights(path / "model.weights.h5")


def _read_json_h5(path: Path) -> Predict:
    network = keras.models.model_from_json((path / "architecture.json").read_text())
    network.load_weights(path / "model.weights.h5")
    return lambda images: np.asarray(network(images, training=False))


def _write_onnx(network: keras.Model, version: Path, path: Path) -> None:
    import onnx  # noqa: F401  # named in the error when it is missing
    import onnxruntime  # noqa: F401
    import tf2onnx  # noqa: F401

    network.export(path, format="onnx", verbose=False)


def _read_onnx(path: Path) -> Predict:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0])


def _write_litert(network: keras.Model, version: Path, path: Path) -> None:
    import ai_edge_litert  # noqa: F401

    network.export(path, format="litert", verbose=False)


def _read_litert(path: Path) -> Predict:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    takes, gives = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def predict(images: Images) -> NDArray[np.float32]:
        interpreter.resize_tensor_input(takes, images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(takes, images)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(gives))

    return predict


def _write_saved_model(network: keras.Model, version: Path, path: Path) -> None:
    network.export(path, format="tf_saved_model", verbose=False)


def _read_saved_model(path: Path) -> Predict:
    import tensorflow

    loaded: Any = tensorflow.saved_model.load(path)
    return lambda images: np.asarray(loaded.serve(images))


def _write_openvino(network: keras.Model, version: Path, path: Path) -> None:
    path.mkdir()
    for name in (store.GRAPH, store.WEIGHTS):
        shutil.copy(version / name, path)


def _read_openvino(path: Path) -> Predict:
    import openvino

    compiled = openvino.Core().compile_model(path / store.GRAPH, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: np.asarray(compiled({0: images})[0])


FORMATS = {
    "keras-json-h5": Format(_write_json_h5, _read_json_h5),
    "onnx": Format(_write_onnx, _read_onnx, ".onnx"),
    "litert": Format(_write_litert, _read_litert, ".tflite"),
    "saved-model": Format(_write_saved_model, _read_saved_model),
    "openvino": Format(_write_openvino, _read_openvino),
}
