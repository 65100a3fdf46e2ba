"""The layer table against Keras's own count and against plain experiments."""

import numpy as np
import pytest

from tests.support.training import rows as lines_of
from training import recipes
from training.describe import describe, table
from training.network import build
from training.recipes import Conv, Recipe


def test_parameters_and_shapes_are_those_of_the_network() -> None:
    for name in recipes.names():
        recipe = recipes.find(name)
        rows, network = describe(recipe), build(recipe)
        assert sum(row.parameters for row in rows) == network.count_params(), name
        shapes = [tuple(layer.output.shape[1:]) for layer in network.layers]
        assert {row.shape for row in rows} <= set(shapes), name
        assert rows[-1].shape == (10,), name


def test_the_figures_of_the_articles() -> None:
    assert sum(row.parameters for row in describe(recipes.find("seven-conv"))) == 25_348_362
    assert sum(row.parameters for row in describe(recipes.find("two-conv"))) == 1_199_882


def test_macs_of_a_convolution_by_hand() -> None:
    row = describe(recipes.find("default"))[1]
    assert row.macs == 10 * 10 * 3 * 3 * 32 * 64
    assert sum(row.macs for row in describe(recipes.find("default"))) < 10_000_000


@pytest.mark.parametrize("name", ["default", "seven-conv", "two-conv"])
def test_receptive_fields_are_the_pixels_that_matter(name: str) -> None:
    """Change one pixel after the other and see which reach the first value of a layer."""
    import keras

    recipe: Recipe = recipes.find(name)
    network = build(recipe)
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)][:3]
    rows = [row for row in describe(recipe) if row.layer.startswith("conv")][:3]
    assert isinstance(recipe.layers[0], Conv)
    for layer, row in zip(convolutions, rows, strict=True):
        # Ones as kernels and no threshold that could hide a change: only the geometry is asked for.
        probe = keras.Model(network.input, layer.output)
        for inner in probe.layers:
            if isinstance(inner, keras.layers.Conv2D):
                inner.set_weights([np.abs(weights) + 0.01 for weights in inner.get_weights()])
        images = np.zeros((29, 28, 28, 1), np.uint8)
        for x in range(28):
            images[x + 1, 0, x] = 255
        values = np.asarray(probe(images))[:, 0, 0].sum(axis=-1)
        assert int((np.abs(values[1:] - values[0]) > 1e-6).sum()) == row.receptive_field


def test_the_table_has_a_line_for_each_layer() -> None:
    recipe = recipes.find("default")
    lines = lines_of(table(recipe))
    assert lines[1] == "| layer | output | parameters | MACs | receptive field |"
    after = 3 + len(recipe.layers) + 1
    assert lines[after - 1] == "| total | | 237,098 | 8,476,160 | 28 x 28 |"
    assert lines[after].startswith("ensemble of 2 such networks: 474,196 parameters")
    assert lines[after + 1].startswith("first stage of a cascade, whose answer stands from a confidence of 0.99 on")
    assert len(lines) == after + 2 + 2 + len(recipe.first_stage) + 1
    assert lines[-1].startswith("| total | | 49,690 | ")
    assert "ensemble" not in table(recipes.find("quick"))
