"""The layer table against Keras's own count and against plain experiments."""

import numpy as np
import pytest

from training import recipes
from training.describe import describe, table
from training.network import build
from training.recipes import Conv, Recipe


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_parameters_and_shapes_are_those_of_the_network(name: str) -> None:
    recipe = recipes.find(name)
    rows, network = describe(recipe), build(recipe)
    assert sum(row.parameters for row in rows) == network.count_params()
    shapes = [tuple(layer.output.shape[1:]) for layer in network.layers]
    for row in rows:
        assert row.shape in shapes
    assert rows[-1].shape == (10,)


def test_the_figures_of_the_articles() -> None:
    assert sum(row.parameters for row in describe(recipes.find("seven-conv"))) == 25_348_362
    assert sum(row.parameters for row in describe(recipes.find("two-conv"))) == 1_199_882


def test_multiply_adds_of_a_convolution_by_hand() -> None:
    row = describe(recipes.find("default"))[1]
    assert row.macs == 10 * 10 * 3 * 3 * 32 * 64
    assert sum(row.macs for row in describe(recipes.find("default"))) < 10_000_000


@pytest.mark.parametrize("name", ["default", "seven-conv", "two-conv"])
def test_fields_are_the_pixels_that_matter(name: str) -> None:
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
        assert int((np.abs(values[1:] - values[0]) > 1e-6).sum()) == row.field


def test_the_table_has_a_line_a_layer() -> None:
    recipe = recipes.find("default")
    lines = table(recipe).splitlines()
    after = 1 + 1 + len(recipe.layers) + 1
    assert lines[after].startswith("2 such networks are trained: 474,196 parameters")
    assert len(lines) == after + 1 + 1 + 1 + len(recipe.first_stage) + 1
    assert lines[after + 1].startswith("a scout goes before them")
    assert lines[-1].split()[1] == "49,690"
    assert "networks" not in table(recipes.find("quick"))
    for part in (lines[1:after], lines[after + 2 :]):
        assert len({len(line) for line in part}) == 1
