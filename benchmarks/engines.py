"""The network in several runtimes: milliseconds for a batch, on one thread and on two.

Each number of threads has a process of its own, since TensorFlow takes that number once. In it the runtimes take turns
at every batch size. Those that are not installed are left out.
"""

import argparse
import contextlib
import importlib.metadata
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.registry import store
from app.registry.store import Version
from benchmarks import machine, pictures
from benchmarks.service import ROOT
from benchmarks.table import markdown

BATCH_SIZES = (1, 8, 16, 32, 64)
TURN_SECONDS = 0.05  # of one runtime, at least
TOLERANCE = 1e-3  # in a probability

Images = NDArray[np.uint8]
Predict = Callable[[Images], NDArray[np.float32]]


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("engines", help=__doc__.splitlines()[0], description=__doc__)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20, help="turns of each; default: %(default)s")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> bool:
    """Measure, and print a table. Returns False when two runtimes disagree on an image."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    names = ("openvino", "onnxruntime", "ai-edge-litert", "tensorflow-cpu", "tensorflow", "keras")
    found = {dist.name.lower().replace("_", "-"): dist.version for dist in importlib.metadata.distributions()}
    print(machine.describe(), *(f"{name} {found[name]}" for name in names if name in found), sep="; ", end="\n\n")
    rows, agree = [], True
    for threads in options.threads:
        # A new process for each, so that nothing stays imported.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            times, difference = pool.submit(_measure, threads, options.rounds).result()
        agree &= difference <= TOLERANCE
        for name in dict.fromkeys(name for name, _ in times):
            rows.append([name, str(threads), *(f"{1000 * times[name, size]:.2f}" for size in BATCH_SIZES)])
    print(
        markdown(["runtime", "threads", *(f"{size} image{'s' if size > 1 else ''}, ms" for size in BATCH_SIZES)], rows)
    )
    print(f"\n{'yes' if agree else 'NO '}  all give the same probabilities, within {TOLERANCE:g}")
    return agree


def _measure(threads: int, rounds: int) -> tuple[dict[tuple[str, int], float], float]:
    """Seconds for each runtime and batch size, and the largest difference in a probability."""
    models = ROOT / "models" / "digits"
    version = store.verify(models / str(store.current(models)))
    images = pictures.small(max(BATCH_SIZES))
    with tempfile.TemporaryDirectory(prefix="digits-") as folder:
        engines = dict(_engines(version, threads, Path(folder)))
        _, expected, *others = (
            predict(images) for predict in engines.values()
        )  # "as served" may differ, as it is a cascade
        difference = max((float(np.abs(expected - other).max()) for other in others), default=0.0)
        found: dict[tuple[str, int], list[float]] = {(name, size): [] for name in engines for size in BATCH_SIZES}
        for size in BATCH_SIZES:
            for predict in engines.values():
                predict(images[:size])
            for _ in range(rounds):
                for name, predict in engines.items():
                    found[name, size].append(_seconds(predict, images[:size]))
    return {key: statistics.median(seconds) for key, seconds in found.items()}, difference


def _seconds(predict: Predict, images: Images) -> float:
    """Of one call, on average over a turn."""
    calls, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < TURN_SECONDS:
        predict(images)
        calls += 1
    return passed / calls


def _engines(version: Version, threads: int, folder: Path) -> Iterator[tuple[str, Predict]]:
    """What serves, then the ensemble in every runtime that is installed: name, and function of uint8 (n, 28, 28)."""
    from app.inference.engine import Graph, OpenVinoEngine
    from app.inference.ensemble import load_cascade
    from training.errors import TrainingError

    with contextlib.suppress(ImportError):  # it takes the number of threads only before it runs
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
    yield "OpenVINO, as served", load_cascade(Graph(version), threads).predict
    yield "OpenVINO, ensemble", OpenVinoEngine(Graph(version), threads).predict
    for make in (_onnx, _litert, _keras):
        try:
            yield from make(version, threads, folder).items()
        except (ImportError, TrainingError) as error:
            print(f"left out: {error}")


def _exported(version: Version, form: str, path: Path) -> Path:
    """Write the version in another format. Raises TrainingError when its answers differ there."""
    from training.formats import convert

    convert(version.path, form, path, pictures.small(max(BATCH_SIZES)))
    return path


def _onnx(version: Version, threads: int, folder: Path) -> dict[str, Predict]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    path = _exported(version, "onnx", folder / "network.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return {"ONNX Runtime": lambda images: np.asarray(session.run(None, {name: images[..., None]})[0])}


def _litert(version: Version, threads: int, folder: Path) -> dict[str, Predict]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(_exported(version, "litert", folder / "network.tflite")), num_threads=threads)
    takes, gives = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    prepared = 0

    def predict(images: Images) -> NDArray[np.float32]:
        nonlocal prepared
        if len(images) != prepared:  # takes time, which a service would spend once for each size
            interpreter.resize_tensor_input(takes, (len(images), 28, 28, 1))
            interpreter.allocate_tensors()
            prepared = len(images)
        interpreter.set_tensor(takes, images[..., None])
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(gives))

    return {"LiteRT": predict}


def _keras(version: Version, threads: int, folder: Path) -> dict[str, Predict]:
    import keras
    import tensorflow

    network = keras.saving.load_model(version.path / store.KERAS, compile=False)
    signature = [tensorflow.TensorSpec((None, 28, 28, 1), tensorflow.uint8)]
    function = tensorflow.function(lambda images: network(images, training=False), input_signature=signature)
    return {
        "tf.function": lambda images: np.asarray(function(images[..., None])),
        "Keras, called": lambda images: np.asarray(network(images[..., None], training=False)),
        "Keras `predict`": lambda images: np.asarray(network.predict(images[..., None], verbose=0)),
    }
