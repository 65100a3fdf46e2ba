"""Any recipe's network, and several networks as one."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.recipes import Conv, Dense, Dropout, Flatten, Layer, MaxPool, Recipe, Softmax

Weights = list[NDArray[np.float32]]


# Channels from which a convolution is learned faster as a matrix product. seven-conv's step of 32 images with two
# threads, on a processor with AVX-512: 750 ms as convolutions, 566 ms with those from 256 channels unfolded; in
# bfloat16 603 and 351 ms. Most of it is the gradient of its largest kernel, 242 ms and 27 ms.
WIDE = 256


def build(
    recipe: Recipe,
    *,
    precision: str = "float32",
    dropout_seed: int = 0,
    unfold: bool = False,
    name: str | None = None,
) -> keras.Model:
    """A network of the recipe's layers: uint8 (n, 28, 28, 1) in, float32 (n, 10) softmax probabilities out.

    precision: a Keras dtype policy; weights are float32 under ``mixed_bfloat16`` too. Initial weights follow
    from Keras's global seed, see ``fit.make_deterministic``. name: of the network; default: the recipe's.
    unfold: compute wide convolutions as matrix products. The same network, learned faster; for training only, since
    a file of it could not be read without this program.
    """
    policy = keras.DTypePolicy(precision)
    image = keras.Input((28, 28, 1), dtype="uint8", name="image")
    x = keras.layers.Rescaling(recipe.scaling.scale, recipe.scaling.offset, dtype=policy, name="scaling")(image)
    for number, layer in enumerate(recipe.layers):
        x = _add(layer, x, policy, seed=dropout_seed * 1000 + number, unfold=unfold)
    return keras.Model(image, x, name=(name or recipe.name).replace("-", "_"))


def join(networks: Sequence[keras.Model], name: str) -> keras.Model:
    """Networks with names of their own as one that answers with the mean of their probabilities. Its weights are those
    of the first, then those of the second, and so on.
    """
    image = keras.Input((28, 28, 1), dtype="uint8", name="image")
    answers = [network(image) for network in networks]
    return keras.Model(image, keras.layers.Average(name="probabilities")(answers), name=name.replace("-", "_"))


def answers(network: keras.Model) -> list[keras.KerasTensor]:
    """What each of the networks says that were joined in this one; of one that was not, what it says itself."""
    last = network.layers[-1]
    return list(last.input) if isinstance(last, keras.layers.Average) else [network.output]


def scale_logits(weights: Weights, factor: float) -> Weights:
    """The network's weights with its ten scores multiplied by ``factor``: confidence changes, no answer does.

    weights: in Keras's order; the last two are the kernel and the bias of the layer that gives the scores.
    """
    if factor == 1:
        return weights
    return [*weights[:-2], *((array * factor).astype("float32") for array in weights[-2:])]


class _Unfolded(keras.layers.Conv2D):  # type: ignore[misc]  # Keras has no types
    """A convolution of stride 1 without padding as one matrix product: of all windows, a row each, and the kernel."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        rows, columns, channels, filters = kernel.shape
        height, width = inputs.shape[1] - rows + 1, inputs.shape[2] - columns + 1
        shifted = [inputs[:, y : y + height, x : x + width] for y in range(rows) for x in range(columns)]
        windows = keras.ops.reshape(keras.ops.concatenate(shifted, axis=-1), (-1, rows * columns * channels))
        scores = keras.ops.matmul(windows, keras.ops.reshape(kernel, (-1, filters)))
        return keras.ops.reshape(scores, (-1, height, width, filters))


def _add(
    layer: Layer, x: keras.KerasTensor, policy: keras.DTypePolicy, *, seed: int, unfold: bool
) -> keras.KerasTensor:
    match layer:
        case Conv(filters, window, stride, padding, batch_norm, activation):
            unfoldable = stride == 1 and padding == "valid" and x.shape[-1] >= WIDE
            kind = _Unfolded if unfold and unfoldable else keras.layers.Conv2D
            x = kind(filters, window, stride, padding, use_bias=not batch_norm, dtype=policy)(x)
            if batch_norm:
                x = keras.layers.BatchNormalization(momentum=0.9, dtype=policy)(x)
            return keras.layers.Activation(activation, dtype=policy)(x) if activation else x
        case MaxPool(window):
            return keras.layers.MaxPooling2D(window, dtype=policy)(x)
        case Flatten():
            return keras.layers.Flatten(dtype=policy)(x)
        case Dropout(rate):
            return keras.layers.Dropout(rate, seed=seed, dtype=policy)(x)
        case Dense(units, activation, initial):
            # A variance of 1/3n is a uniform spread of plus and minus one over the root of n.
            begin = (
                "glorot_uniform"
                if initial == "glorot_uniform"
                else keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
            )
            return keras.layers.Dense(units, activation, kernel_initializer=begin, dtype=policy)(x)
        case Softmax():
            return keras.layers.Softmax(dtype="float32", name="probabilities")(x)
