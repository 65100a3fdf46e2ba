"""Keras files made elsewhere become versions, or are refused with the reason."""

import dataclasses
import os
from pathlib import Path

import keras
import numpy as np
import openvino
import pytest

from app.inference.engine import Graph, OpenVinoEngine
from app.registry import store
from training import export, quantise, recipes
from training.errors import TrainingError
from training.network import build, join
from training.recipes import Conv, Dense, Flatten, Layer, Softmax


def network(shape: tuple[int, ...] = (28, 28, 1), units: int = 10, activation: str | None = "softmax") -> keras.Model:
    image = keras.Input(shape)
    x = keras.layers.Dense(units)(keras.layers.Flatten()(image))
    return keras.Model(image, keras.layers.Activation(activation)(x) if activation else x)


def save(model: keras.Model, tmp_path: Path) -> Path:
    path = tmp_path / "made-elsewhere.keras"
    model.save(path)
    return path


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (784,)])
@pytest.mark.parametrize("pixels", ["0..255", "0..1", "-1..1"])
def test_shapes_and_ranges(tmp_path: Path, shape: tuple[int, ...], pixels: str) -> None:
    keras.utils.set_random_seed(1)
    model = network(shape)
    imported = export.import_keras(save(model, tmp_path), pixels)
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1)).astype(np.uint8)
    low, high = (float(end) for end in pixels.split(".."))
    scaled = (low + images / 255 * (high - low)).reshape(5, *shape).astype("float32")
    assert np.asarray(imported(images)) == pytest.approx(np.asarray(model(scaled)), abs=1e-4)
    if pixels == "0..1":  # the range makes no difference to the files, each of which takes seconds to write
        manifest = export.stage(imported, tmp_path / "staged")
        assert store.verify(tmp_path / "staged").manifest == manifest
        assert manifest.recipe is None


def test_a_trained_optimiser_stays_behind(tmp_path: Path) -> None:
    model = network()
    model.compile("adam", "categorical_crossentropy")
    model.fit(np.zeros((4, 28, 28, 1)), np.eye(10)[:4], verbose=0)
    path = save(model, tmp_path)
    export.stage(export.import_keras(path, "0..1"), tmp_path / "staged")
    # Adam keeps two float32 for each of 7,850 weights.
    assert (tmp_path / "staged" / store.KERAS).stat().st_size < path.stat().st_size - 50_000


@pytest.mark.parametrize(
    ("shape", "units", "activation", "words"),
    [
        ((32, 32, 1), 10, "softmax", r"\(32, 32, 1\)"),
        ((28, 28, 3), 10, "softmax", r"\(28, 28, 3\)"),
        ((28, 28, 1), 11, "softmax", "ten"),
        ((28, 28, 1), 10, None, "softmax"),
        ((28, 28, 1), 10, "sigmoid", "softmax"),
    ],
)
def test_what_cannot_be_served(
    tmp_path: Path, shape: tuple[int, ...], units: int, activation: str | None, words: str
) -> None:
    path = save(network(shape, units, activation), tmp_path)
    with pytest.raises(TrainingError, match=words):
        export.stage(export.import_keras(path), tmp_path / "staged")


def test_a_network_that_learned_nothing(tmp_path: Path) -> None:
    model = network()
    model.set_weights([np.zeros_like(weights) for weights in model.get_weights()])
    with pytest.raises(TrainingError, match="not learned"):
        export.stage(export.import_keras(save(model, tmp_path)), tmp_path / "staged")


def test_two_inputs(tmp_path: Path) -> None:
    one, two = keras.Input((784,)), keras.Input((784,))
    output = keras.layers.Dense(10, "softmax")(keras.layers.Add()([one, two]))
    with pytest.raises(TrainingError, match="2 inputs"):
        export.import_keras(save(keras.Model([one, two], output), tmp_path))


@pytest.mark.filterwarnings("ignore::UserWarning:keras")
def test_code_inside_a_file_is_not_run(tmp_path: Path) -> None:
    image = keras.Input((784,))
    marker = str(tmp_path / "ran")
    output = keras.layers.Lambda(lambda x: os.makedirs(marker) or x)(keras.layers.Dense(10, "softmax")(image))
    os.rmdir(marker)
    path = save(keras.Model(image, output), tmp_path)
    with pytest.raises(TrainingError, match=r"cannot be|not a Keras file"):
        export.import_keras(path)
    assert not os.path.exists(marker)


def test_what_is_no_keras_file(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not a file"):
        export.import_keras(tmp_path / "nothing.keras")
    for name in ("hello.keras", "hello.h5", "hello.txt"):
        (tmp_path / name).write_text("hello")
        with pytest.raises(TrainingError, match=name):
            export.import_keras(tmp_path / name)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("softmax", ["float32", None])
def test_a_network_trained_in_mixed_precision_serves_in_float32(
    tmp_path: Path, policy: str, softmax: str | None
) -> None:
    image = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(4, 3, strides=3, activation="relu", dtype=policy)(image)
    x = keras.layers.Dense(10, dtype=policy)(keras.layers.Flatten(dtype=policy)(x))
    model = keras.Model(image, keras.layers.Softmax(dtype=softmax or policy)(x))
    imported = export.import_keras(save(model, tmp_path), "0..1")
    export.stage(imported, tmp_path / "staged")
    assert all(layer.compute_dtype == "float32" for layer in imported.layers[-1].layers if layer.weights)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_whole_numbers_cannot_be_scaled(tmp_path: Path, dtype: str) -> None:
    image = keras.Input((784,), dtype=dtype)
    x = keras.layers.Rescaling(1 / 255)(image)
    path = save(keras.Model(image, keras.layers.Dense(10, "softmax")(x)), tmp_path)
    export.stage(export.import_keras(path), tmp_path / "staged")
    with pytest.raises(TrainingError, match="whole numbers"):
        export.import_keras(path, "0..1")


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_a_network_that_was_never_built(tmp_path: Path) -> None:
    path = save(keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]), tmp_path)
    with pytest.raises(TrainingError, match="build the network"):
        export.import_keras(path)


def test_outputs_by_name(tmp_path: Path) -> None:
    image = keras.Input((784,))
    path = save(keras.Model(image, {"digit": keras.layers.Dense(10, "softmax")(image)}), tmp_path)
    with pytest.raises(TrainingError, match="single"):
        export.import_keras(path)


def test_an_operation_that_the_runtime_lacks_is_named(tmp_path: Path) -> None:
    image = keras.Input((28, 28))
    x = keras.layers.LSTM(4)(image)
    path = save(keras.Model(image, keras.layers.Dense(10, "softmax")(x)), tmp_path)
    with pytest.raises(TrainingError, match="No conversion rule found for operations"):
        export.stage(export.import_keras(path), tmp_path / "staged")


def pair(layers: tuple[Layer, ...] | None = None) -> tuple[keras.Model, list[keras.Model]]:
    """Two small networks as one, and the two."""
    recipe = recipes.find("quick")
    recipe = dataclasses.replace(recipe, layers=layers or recipe.layers)
    keras.utils.set_random_seed(2)
    networks = [build(recipe, name=f"network-{number}") for number in range(2)]
    return join(networks, "pair"), networks


@pytest.mark.parametrize(
    ("layers", "rounded"),
    [
        (None, True),
        (
            (Conv(8), Conv(8, activation=None), Conv(8), Flatten(), Dense(10), Softmax()),
            True,
        ),  # no ReLU
        ((Flatten(), Dense(10), Softmax()), False),  # nothing to round
    ],
)
def test_the_first_network_of_an_ensemble_can_be_asked_alone(
    tmp_path: Path, layers: tuple[Layer, ...] | None, rounded: bool
) -> None:
    joined, networks = pair(layers)
    export.stage(joined, tmp_path / "staged", tta_threshold=0.85)
    version = store.verify(tmp_path / "staged")
    images = export.check_images(20)
    whole, first = (np.asarray(network(images[..., None])) for network in (joined, networks[0]))
    assert np.abs(whole - first).max() > 1e-3
    assert OpenVinoEngine(Graph(version), threads=1).predict(images) == pytest.approx(whole, abs=1e-5)
    alone = OpenVinoEngine(Graph(version), threads=1, output=store.FIRST_NETWORK_OUTPUT).predict(images)
    assert alone == pytest.approx(first, abs=5e-3)  # it is in int8
    assert (np.abs(alone - first).max() > 1e-5) == rounded


def test_a_first_stage_is_a_file_of_its_own_and_an_output_of_the_graph(tmp_path: Path) -> None:
    joined, (first, _) = pair()
    first_stage = build(recipes.find("quick"), name="first_stage")
    first_stage.set_weights(first.get_weights())
    manifest = export.stage(
        joined, tmp_path / "staged", first_stage=first_stage, tta_threshold=0.85, cascade_threshold=0.98
    )
    assert manifest.parameters == joined.count_params() + first_stage.count_params()
    version = store.verify(tmp_path / "staged")
    images = export.check_images(20)
    read = np.asarray(keras.saving.load_model(version.path / store.FIRST_STAGE)(images[..., None]))
    assert read == pytest.approx(np.asarray(first_stage(images[..., None])), abs=1e-6)
    answers = [
        OpenVinoEngine(Graph(version), threads=1, output=output).predict(images)
        for output in (store.FIRST_NETWORK_OUTPUT, store.FIRST_STAGE_OUTPUT)
    ]
    assert np.array_equal(*answers)  # it is the first network's twin
    assert answers[1] == pytest.approx(read, abs=5e-3)
    (version.path / store.FIRST_STAGE).write_bytes(b"another")
    with pytest.raises(store.VersionError, match=r"first_stage\.keras"):
        store.verify(version.path)


def test_where_none_is_asked_alone_the_graph_has_none(tmp_path: Path) -> None:
    export.stage(pair()[0], tmp_path / "staged")
    assert len(openvino.Core().read_model(tmp_path / "staged" / store.GRAPH).outputs) == 1


def test_a_network_that_int8_changes_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantise, "WEIGHT_LEVELS", 2)
    joined, _ = pair()
    joined.set_weights([array * 3 for array in joined.get_weights()])
    with pytest.raises(TrainingError, match="in int8 the first network differs by 0"):
        export.stage(joined, tmp_path / "staged", tta_threshold=0.85)


def test_a_pair_that_gives_no_numbers(tmp_path: Path) -> None:
    joined, _ = pair()
    joined.set_weights([np.full_like(array, np.nan) for array in joined.get_weights()])
    with pytest.raises(TrainingError, match="not finite"):
        export.stage(joined, tmp_path / "staged", tta_threshold=0.85)
