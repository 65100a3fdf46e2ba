"""Recipes from files and from functions, and trainings by them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from app.inference.engine import Graph
from app.inference.ensemble import load_cascade
from app.registry import store
from tests.support.training import run_here
from tests.support.versions import SHIPPED
from training import data, recipes
from training.errors import TrainingError
from training.export import import_keras
from training.network import build

RECIPE = """
batch_size = 32
epochs = 1

[optimiser]
name = "Adam"
learning_rate = 0.01

[[layers]]
kind = "Conv"
filters = 4
kernel_size = 5
stride = 2

[[layers]]
kind = "Flatten"

[[layers]]
kind = "Dense"
units = 10

[[layers]]
kind = "Softmax"
"""

FUNCTION = """
import keras

def build():
    return keras.Sequential([
        keras.Input((28, 28, 1)),
        keras.layers.Conv2D(4, 5, strides=2, activation="relu"),
        keras.layers.Dropout(0.1),
        keras.layers.Flatten(),
        keras.layers.Dense(10, activation="softmax"),
    ])

def without_softmax():
    return keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(10)])

def of_colours():
    return keras.Sequential([keras.Input((28, 28, 3)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")])

def broken():
    return 1 / 0

def of_bytes():
    image = keras.Input((28, 28), dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.Dense(10, "softmax")(x))
"""


def write(folder: Path, text: str = RECIPE, name: str = "my.toml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_file_is_trained_and_published(small_data: Path, tmp_path: Path) -> None:
    write(tmp_path)
    output = run_here(tmp_path, "fit", "--recipe", "my.toml", "--data", small_data, "--no-verify")
    assert "published as version 1" in output
    manifest = store.verify(tmp_path / "models/digits/1").manifest
    recipe = recipes.from_dict(manifest.recipe or {})
    assert recipe == recipes.load(tmp_path / "my.toml")
    assert (recipe.name, recipe.epochs, recipe.optimiser.name) == ("my", 1, "Adam")
    assert "conv 5x5 /2, relu" in run_here(tmp_path, "describe", "--recipe", "my.toml")


def test_mistakes_in_a_file_are_named(tmp_path: Path) -> None:
    for before, after, words in (
        ("batch_size = 32", "", "batch_size: it is missing"),
        ("batch_size = 32", "batch_size = '32'", "batch_size: .*integer"),
        ("batch_size = 32", "batch_size = 0", "batch_size: .*greater than or equal to 1"),
        ("batch_size = 32", "batch_sizes = 32", "batch_sizes: there is no such setting"),
        ("filters = 4", "filter = 4", r"layers\[0\].filter"),
        ("filters = 4", "filters = 4.5", r"layers\[0\].filters: .*integer"),
        ('"Flatten"', '"Capsule"', r"layers\[1\]: .*Capsule.*Conv"),
        ('kind = "Softmax"', 'kind = "Flatten"', "last layer must be Softmax"),
        ("learning_rate = 0.01", "learning_rate = nan", "optimiser.learning_rate"),
        ("epochs = 1", "epochs = ", "not a TOML file.*line 3"),
        ("epochs = 1", 'epochs = 1\nmodel = "x.py:build"', "either layers or a model"),
    ):
        path = write(tmp_path, RECIPE.replace(before, after))
        with pytest.raises(TrainingError, match=f"my.toml.*{words}") as caught:
            recipes.load(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(TrainingError, match=r"nowhere\.toml: no such file"):
        recipes.load(tmp_path / "nowhere.toml")


def test_layers_and_names_that_keras_refuses(small_data: Path, tmp_path: Path) -> None:
    for before, after, words in (
        ("kernel_size = 5", "kernel_size = 50", "layers of my do not fit together"),
        ("units = 10", "units = 11", "shape \\(11,\\); expected \\(10,\\)"),
        ('name = "Adam"', 'name = "Eve"', "no optimiser 'Eve'"),
        ("learning_rate = 0.01", "learning_rate = 0.01\nmomentum = 0.9", "optimiser Adam"),
        ("epochs = 1", 'epochs = 1\nloss = "regret"', "no loss 'regret'"),
    ):
        write(tmp_path, RECIPE.replace(before, after))
        arguments = ["fit", "--recipe", "my.toml", "--data", small_data, "--no-verify", "--fresh"]
        output = run_here(tmp_path, *arguments, status=2).splitlines()[-1]
        assert np.all([word.replace("\\", "") in output for word in words.split(".*")]), output


def test_a_function_is_trained_published_and_fine_tuned(small_data: Path, tmp_path: Path) -> None:
    write(tmp_path, FUNCTION, "net.py")
    known = ["--data", small_data, "--no-verify", "--epochs", "1"]
    text = RECIPE.partition("[[layers]]")[0].replace("epochs", 'model = "net.py:build"\nepochs')
    write(tmp_path, text)
    output = run_here(tmp_path, "fit", "--recipe", "my.toml", *known)
    assert "published as version 1" in output
    manifest = store.verify(tmp_path / "models/digits/1").manifest
    assert manifest.recipe is not None
    assert manifest.recipe["model"] == "net.py:build"
    assert manifest.recipe["model_sha256"] == store.digest(tmp_path / "net.py")
    # It is served as Keras computes it.
    images = data.load(small_data, verify=False).test.images[:20]
    network = import_keras(tmp_path / "models/digits/1" / store.KERAS)
    served = load_cascade(Graph(store.verify(tmp_path / "models/digits/1")), threads=1).predict(images)
    assert served == pytest.approx(np.asarray(network(images[..., None])), abs=1e-4)
    # A finished run is not trained again, and another source is another run.
    assert "--fresh" in run_here(tmp_path, "fit", "--recipe", "my.toml", *known, status=2)
    fine_tuning = ["fit", "--start", "models/digits/1", *known, "--stage"]
    assert "validation: " in run_here(tmp_path, *fine_tuning)
    write(tmp_path, FUNCTION + "\n", "net.py")
    assert "differs in: recipe" in run_here(tmp_path, "fit", "--recipe", "my.toml", *known, status=2)
    assert "net.py:build has changed since" in run_here(tmp_path, *fine_tuning, status=2)
    (tmp_path / "net.py").unlink()
    output = run_here(tmp_path, *fine_tuning, status=2).splitlines()[-1]
    assert "net.py: no such file" in output
    assert "put its file back" in output
    assert "train from scratch" in output


def test_a_function_has_the_default_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, FUNCTION, "net.py")
    recipe, default = recipes.from_option("net.py:build"), recipes.find("default")
    assert (recipe.name, recipe.optimiser, recipe.augmentation) == ("build", default.optimiser, default.augmentation)
    assert (recipe.ensemble_size, recipe.first_stage, recipe.threshold) == (1, (), None)
    assert recipes.from_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
    for precision in ("float32", "mixed_bfloat16"):
        network = build(recipe, precision=precision)
        answers = network(images)
        assert (keras.backend.standardize_dtype(answers.dtype), answers.shape) == ("float32", (3, 10))
        assert np.asarray(answers).sum(axis=1) == pytest.approx(np.ones(3), abs=0.02)
    assert keras.config.dtype_policy().name == "float32"
    # Floats are scaled from 0 to 1; whole numbers are the bytes.
    for name in ("build", "of_bytes"):
        network = build(dataclasses.replace(recipe, model=f"net.py:{name}"))
        assert ("scaling" in {layer.name for layer in network.layers}) == (name == "build")


def test_functions_that_build_no_network_for_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, FUNCTION, "net.py")
    recipe = recipes.from_function("net.py:build")
    for reference, words in (
        ("net.py:nothing", "no function 'nothing'"),
        ("net.py:without_softmax", "end the network with a softmax"),
        ("net.py:of_colours", r"\(28, 28, 3\)"),
        ("net.py:broken", "line 20: ZeroDivisionError"),
        ("net.py:keras", "no function 'keras'"),
    ):
        with pytest.raises(TrainingError, match=words):
            build(dataclasses.replace(recipe, model=reference))
    for reference, words in (
        ("nowhere.py:build", "no such file"),
        ("no.such.package:build", "no module 'no.such.package'"),
        ("net.py:", "names no function"),
        ("net.py", "ends in .toml or FILE.py:FUNCTION"),
    ):
        with pytest.raises(TrainingError, match=words):
            recipes.from_option(reference)


def test_recipes_come_back_from_a_manifest() -> None:
    for name in recipes.names():
        recipe = recipes.find(name)
        assert recipes.from_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe, name
        further = recipes.fine_tuning(recipe)
        assert (further.layers, further.scaling, further.augmentation) == (
            recipe.layers,
            recipe.scaling,
            recipe.augmentation,
        )
        assert recipes.fine_tuning(further) == further


def test_the_shipped_version_can_be_fine_tuned() -> None:
    """Its manifest is of format 1, which has other names for some settings."""
    assert json.loads((SHIPPED / "1" / store.MANIFEST).read_text())["format"] == 1
    recipe = recipes.from_dict(store.read_manifest(SHIPPED / "1").recipe or {})
    default = recipes.find("default")
    assert (recipe.layers, recipe.first_stage) == (default.layers, default.first_stage)
    assert recipe.augmentation == default.augmentation
    for name, first in (("model.keras", False), (store.FIRST_STAGE, True)):
        if (SHIPPED / "1" / name).exists():
            parts = 1 if first else recipe.ensemble_size
            weights = import_keras(SHIPPED / "1" / name).get_weights()
            network = build(recipe.of_first_stage() if first else recipe)
            network.set_weights(weights[: len(weights) // parts])


def test_settings_that_are_no_recipe() -> None:
    changes: list[dict[str, Any]] = [{"colour": 1}, {"layers": [{}]}, {"layers": 3}, {"optimiser": None}]
    for change in changes:
        (name,) = change
        with pytest.raises(TrainingError, match=name):
            recipes.from_dict(recipes.find("default").as_dict() | change)


def test_recipes_are_data() -> None:
    recipe = recipes.find("default")
    assert recipe.as_dict()["layers"][0]["kind"] == "Conv"
    assert dataclasses.replace(recipe, batch_size=7).digest() != recipe.digest()
    with pytest.raises(TrainingError, match="default"):
        recipes.find("nonesuch")
