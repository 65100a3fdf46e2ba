"""From a Keras network to a version folder that can be served: both forms of it, and its manifest."""

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
from training import drawing
from training.errors import TrainingError
from training.network import answers
from training.quantise import quantise_to_int8, run

# How far the two forms may differ in any probability: float32 rounding through a dozen layers gives about 1e-6.
AGREEMENT = 1e-4

# And how far a glance's two, in full precision and in 8 bits, on so many drawn digits, on average. The default recipe's
# differ by 0.0002.
INT8_AGREEMENT, DRAWN = 0.01, 512

# Ranges that networks made elsewhere were trained on, as scale and offset of the bytes.
RANGES = {"0..255": (1.0, 0.0), "0..1": (1 / 255, 0.0), "-1..1": (2 / 255, -1.0)}


def stage(network: keras.Model, folder: Path, *, first_stage: keras.Model | None = None, **about: Any) -> Manifest:
    """Write ``network`` as an unpublished version into ``folder``: both forms and ``card.json``.

    network, scout: uint8 (n, 28, 28, 1) in, float32 (n, 10) probabilities out.
    about: further fields of the manifest. With ``tta_threshold`` the graph gives what an ensemble's first network says,
    too. Raises TrainingError when the network is not fit to serve.
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
        raise TrainingError(f"{path} is not a Keras file that can be loaded: {_reason(error)}") from None
    shape, dtype = _input_of(network, path)
    if dtype.startswith(("int", "uint")) and pixels != "0..255":
        raise TrainingError(f"{path} takes whole numbers ({dtype}), which {pixels} would round to next to nothing")
    network = _in_float32(network)
    if shape == (28, 28, 1) and dtype == "uint8" and pixels == "0..255":
        return network
    scale, offset = RANGES[pixels]
    image = keras.Input((28, 28, 1), dtype="uint8", name="image")
    x = keras.layers.Rescaling(scale, offset, name="to_its_range")(image)
    return keras.Model(image, network(keras.layers.Reshape(shape, name="to_its_shape")(x)), name=network.name)


def _input_of(network: Any, path: Path) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of the one input, where there is one input and one output of ten values."""
    try:
        inputs, outputs = network.inputs, network.outputs
    except AttributeError:
        inputs = None
    if not inputs:
        raise TrainingError(f"{path} does not know its input: build the network on 28x28 images and save it again")
    if not isinstance(network.output, keras.KerasTensor) or len(inputs) != 1 or len(outputs) != 1:
        raise TrainingError(
            f"{path} has {len(inputs)} inputs and {len(outputs)} outputs; expected a single one of each"
        )
    shape, gives = tuple(inputs[0].shape[1:]), tuple(outputs[0].shape[1:])
    if shape not in ((28, 28), (28, 28, 1), (784,)):
        raise TrainingError(f"{path} takes images of shape {shape}; expected (28, 28), (28, 28, 1) or (784,)")
    if gives != (10,):
        raise TrainingError(f"{path} gives {gives} values; expected ten probabilities")
    return shape, str(inputs[0].dtype)


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
    """extra_outputs: what else the graph gives, in int8, by name. Where they are unsure, the service
    asks the ensemble.
    """
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
    """The same graph, whose outputs but the first have these names and are computed in 8 bits. Raises TrainingError
    where one is another then.
    """
    (image,), (whole, *extra_outputs) = graph.get_parameters(), graph.get_results()
    drawn = drawing.digits(DRAWN, [0]).images  # so that no data is wanted
    answers = []
    for name, exact in zip(names, extra_outputs, strict=True):
        alone = openvino.Model([exact], [image])
        rounded = quantise_to_int8(alone, drawn)
        difference = float(np.abs(run(alone, drawn)[0] - run(rounded, drawn)[0]).max(axis=1).mean())
        if difference > INT8_AGREEMENT:
            raise TrainingError(
                f"in 8 bits the {name} network differs by {difference:.2g} in a probability; "
                f"expected {INT8_AGREEMENT:g}"
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
    if difference > AGREEMENT:
        raise TrainingError(f"Keras and OpenVINO differ by {difference:.2g} in a probability; expected {AGREEMENT:g}")


def check_images(count: int) -> NDArray[np.uint8]:
    """Strokes at random, (count, 28, 28): images on which networks for digits are neither blind nor sure."""
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
