"""From a Keras network to a version that can be served: the network for Keras and for OpenVINO, and its manifest."""

import importlib.metadata
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import openvino
from numpy.typing import NDArray

from app.registry import store
from app.registry.manifest import Manifest
from training.errors import TrainingError
from training.network import answers, input_of
from training.quantise import quantise_to_int8, run
from training.synthetic import digits

# How far Keras and OpenVINO may differ in a probability. Rounding in float32 through a dozen layers gives about 1e-6.
MAX_DIFFERENCE = 1e-4

# How far an output in int8 may differ from float32 in a probability, as a mean over so many synthetic digits, which
# also give the ranges of the quantisation. The default recipe's differ by 0.0002.
MAX_INT8_DIFFERENCE, CALIBRATION_IMAGES = 0.01, 512

# Ranges that networks made elsewhere were trained on, as scale and offset of the bytes.
RANGES = {"0..255": (1.0, 0.0), "0..1": (1 / 255, 0.0), "-1..1": (2 / 255, -1.0)}


def stage(network: keras.Model, folder: Path, *, first_stage: keras.Model | None = None, **about: Any) -> Manifest:
    """Write a network as an unpublished version.

    Args:
        network: from uint8 (n, 28, 28, 1) to float32 (n, 10) probabilities.
        folder: of the version.
        first_stage: of a cascade, a network of the same kind.
        about: further fields of the manifest. With ``tta_threshold`` the graph has an output of an ensemble's first
            network too.

    Returns:
        The manifest.

    Raises:
        TrainingError: when the network is not fit to serve.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {store.KERAS: network} | ({store.FIRST_STAGE: first_stage} if first_stage else {})
    for name, one in files.items():
        one.save(folder / name)
    # What is served is made from the files, not from the networks in memory: the files are the artifacts of record.
    saved, *first_stages = (keras.saving.load_model(folder / name, compile=False) for name in files)
    first, *others = answers(saved)
    extra_outputs = {store.FIRST_NETWORK_OUTPUT: first} if others and about.get("tta_threshold") is not None else {}
    if first_stages:
        extra_outputs[store.FIRST_STAGE_OUTPUT] = first_stages[0](saved.input)
    _to_openvino(saved, folder, extra_outputs)
    _check(saved, folder / store.GRAPH)
    manifest = Manifest(
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        parameters=saved.count_params() + sum(one.count_params() for one in first_stages),
        files={name: store.digest(folder / name) for name in dict.fromkeys((*store.ARTIFACTS, *files))},
        libraries=libraries(),
        **about,
    )
    (folder / store.MANIFEST).write_text(manifest.to_json())
    return manifest


def import_keras(path: Path, pixels: str = "0..255") -> keras.Model:
    """Import a Keras model, with layers in front of it so that it takes 28x28 bytes.

    Args:
        path: a ``.keras`` (or Keras ``.h5``) file of a model whose input is 28x28, 28x28x1 or 784 numbers.
        pixels: the range of the numbers that it was trained on, one of RANGES.

    Raises:
        TrainingError: when it cannot be served; it gives the reason.
    """
    if not path.is_file():
        raise TrainingError(f"{path} is not a file")
    try:
        network = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its layers raise; all of it means the same here
        raise TrainingError(f"{path} is not a Keras file that can be loaded: {_reason(error)}") from None
    shape, dtype = input_of(network, path)
    if dtype.startswith(("int", "uint")) and pixels != "0..255":
        raise TrainingError(f"{path} takes whole numbers ({dtype}), which {pixels} would round to next to nothing")
    network = _in_float32(network)
    if shape == (28, 28, 1) and dtype == "uint8" and pixels == "0..255":
        return network
    scale, offset = RANGES[pixels]
    image = keras.Input((28, 28, 1), dtype="uint8", name="image")
    x = keras.layers.Rescaling(scale, offset, name="to_its_range")(image)
    return keras.Model(image, network(keras.layers.Reshape(shape, name="to_its_shape")(x)), name=network.name)


def _in_float32(network: keras.Model) -> keras.Model:
    """The same network computing in float32, as it will be served; trained in mixed precision it may not."""
    if all(layer.compute_dtype == "float32" for layer in network.layers if layer.weights):
        return network

    def in_float32(layer: keras.Layer) -> keras.Layer:
        dtype = layer.dtype if isinstance(layer, keras.layers.InputLayer) else "float32"
        return type(layer).from_config(layer.get_config() | {"dtype": dtype})

    clone = keras.models.clone_model(network, clone_function=in_float32)
    clone.set_weights(network.get_weights())
    return clone


def _to_openvino(network: keras.Model, folder: Path, extra_outputs: dict[str, keras.KerasTensor]) -> None:
    """Write the graph, with further outputs in int8 by their names."""
    if extra_outputs:
        network = keras.Model(network.input, [network.output, *extra_outputs.values()])
    with tempfile.TemporaryDirectory() as temporary:
        try:
            network.export(f"{temporary}/model.xml", format="openvino", verbose=False)
            graph = openvino.Core().read_model(f"{temporary}/model.xml")
        except Exception as error:  # the converter raises types of its own that have no common base
            raise TrainingError(f"the network cannot be written for OpenVINO: {_reason(error)}") from None
        if extra_outputs:
            graph = _with_extra_outputs(graph, list(extra_outputs))
        graph.set_rt_info(store.digest(folder / store.KERAS), ["digits", "source_sha256"])
        openvino.save_model(graph, folder / store.GRAPH, compress_to_fp16=False)


def _with_extra_outputs(graph: Any, names: list[str]) -> Any:
    """Name all outputs of a graph but the first, and quantise their layers to int8.

    Raises:
        TrainingError: when an output differs too much then.
    """
    (image,), (whole, *extra_outputs) = graph.get_parameters(), graph.get_results()
    images = digits.make(CALIBRATION_IMAGES, [0]).images  # so that no data is needed
    answers = []
    for name, exact in zip(names, extra_outputs, strict=True):
        alone = openvino.Model([exact], [image])
        rounded = quantise_to_int8(alone, images)
        difference = float(np.abs(run(alone, images)[0] - run(rounded, images)[0]).max(axis=1).mean())
        if difference > MAX_INT8_DIFFERENCE:
            raise TrainingError(
                f"in int8 the {name} network differs by {difference:.2g} in a probability; "
                f"expected {MAX_INT8_DIFFERENCE:g}"
            )
        (its_image,), (answer,) = rounded.get_parameters(), rounded.get_results()
        for place in its_image.output(0).get_target_inputs():
            place.replace_source_output(image.output(0))
        answer.set_friendly_name(name)
        answers.append(answer)
    return openvino.Model([whole, *answers], [image])


def _check(network: keras.Model, graph: Path) -> None:
    images = check_images(64)
    by_keras = np.asarray(network(images[..., None], training=False))
    if by_keras.shape != (len(images), 10):
        raise TrainingError(f"the network gives {by_keras.shape[1:]} values an image; expected ten probabilities")
    if not np.isfinite(by_keras).all():
        raise TrainingError("the network gives values that are not finite")
    if by_keras.min() < -1e-6 or np.abs(by_keras.sum(axis=1) - 1).max() > 1e-3:
        raise TrainingError("the ten values do not sum to one: end the network with a softmax")
    if np.ptp(by_keras, axis=0).max() < 1e-6:
        raise TrainingError("the network gives every image the same values: it has not learned anything")
    try:
        by_openvino = run(graph, images)[0]
    except RuntimeError as error:
        raise TrainingError(f"OpenVINO cannot run the network: {_reason(error)}") from None
    difference = float(np.abs(by_keras - by_openvino).max())
    if difference > MAX_DIFFERENCE:
        raise TrainingError(
            f"Keras and OpenVINO differ by {difference:.2g} in a probability; expected {MAX_DIFFERENCE:g}"
        )


def check_images(count: int) -> NDArray[np.uint8]:
    """Random strokes, uint8 (count, 28, 28): images on which networks for digits are neither blind nor certain."""
    random = np.random.default_rng(0)
    images = np.zeros((count, 28, 28), np.float32)
    for image in images:
        for _ in range(random.integers(1, 4)):
            start, end = random.uniform(5, 23, (2, 2))
            for share in np.linspace(0, 1, 40):
                y, x = start + (end - start) * share
                yy, xx = np.mgrid[:28, :28]
                np.maximum(image, np.clip(2.2 - np.hypot(yy - y, xx - x), 0, 1), out=image)
    return np.rint(images * 255).astype(np.uint8)


def libraries() -> dict[str, str]:
    """The versions that a network depends on, by library."""
    names = ("keras", "tensorflow-cpu", "tensorflow", "openvino", "numpy")
    found = {}
    for name in names:
        try:
            found[name.removesuffix("-cpu")] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _reason(error: Exception) -> str:
    """The line of an error that says why: OpenVINO's begins with dashes, after several that say where."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line.lstrip("- ") for line in lines if line.startswith("--")] + lines
    return told[0] if told else type(error).__name__


def renew(folder: Path) -> None:
    """Make ``folder`` exist and be empty."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
