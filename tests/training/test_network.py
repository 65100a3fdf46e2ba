"""The network that a recipe describes."""

import keras
import numpy as np
import tensorflow as tf

from training.fit import make_deterministic
from training.network import MATMUL_CHANNELS, build
from training.recipes import Conv, Flatten, MaxPool, Optimiser, Recipe, Softmax

RECIPE = Recipe(
    name="wide",
    summary="convolutions with few and with many channels",
    layers=(
        Conv(MATMUL_CHANNELS, stride=2),
        MaxPool(),
        MaxPool(),
        Conv(20),
        Conv(10, kernel_size=1, activation=None),
        Flatten(),
        Softmax(),
    ),
    optimiser=Optimiser("Adam", learning_rate=0.001),
    batch_size=8,
    epochs=1,
)


def test_convolutions_as_matrix_products_compute_and_learn_the_same() -> None:
    """Only in the order in which sums are taken may they differ."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (6, 28, 28, 1), np.uint8)
    weights, found = None, []
    for as_matmul in (False, True):
        make_deterministic(0)
        network = build(RECIPE, as_matmul=as_matmul)
        if weights is not None:
            network.set_weights(weights)
        weights = network.get_weights()
        kinds = [type(layer) for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
        assert [kind is keras.layers.Conv2D for kind in kinds] == [True, not as_matmul, True]  # the second is wide
        with tf.GradientTape() as tape:
            probabilities = network(images, training=True)
            loss = -tf.reduce_mean(tf.math.log(probabilities[:, 3]))
        gradients = tape.gradient(loss, network.trainable_variables)
        found.append([probabilities.numpy(), *(gradient.numpy() for gradient in gradients)])
    for plain, products in zip(*found, strict=True):
        assert np.abs(plain).max() > 1e-3
        np.testing.assert_allclose(products, plain, atol=1e-5)
