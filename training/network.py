"""The network of any recipe, and several networks as one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training import model_function
from training.errors import TrainingError
from training.recipes import Conv, Dense, Dropout, Flatten, Layer, MaxPool, Recipe, Softmax

Weights = list[NDArray[np.float32]]

# Channels from which a convolution is trained faster as a matrix product. seven-conv's step of 32 images with two
# threads, on a processor with AVX-512: 750 ms as convolutions, 566 ms with those from 256 channels as matrix products;
# in bfloat16 603 and 351 ms. Most of it is the gradient of its largest kernel, 242 ms and 27 ms.
MATMUL_CHANNELS = 256


def build(
    recipe: Recipe,
    *,
    precision: str = "float32",
    dropout_seed: int = 0,
    as_matmul: bool = False,
    name: str | None = None,
) -> keras.Model:
    """Build one network of a recipe.

    Args:
        recipe: with its layers, or the function that builds the network. Initial weights follow from Keras's global
            seed, see ``fit.make_deterministic``.
        precision: a Keras dtype policy; weights are float32 under ``mixed_bfloat16`` too.
        dropout_seed: of the layers' dropout.
        as_matmul: compute wide convolutions as matrix products. The same network, trained faster; for training only, as
            a file of it could not be read without this program.
        name: of the network; default: the recipe's.

    Returns:
        A network from uint8 (n, 28, 28, 1) to float32 (n, 10) softmax probabilities.

    Raises:
        TrainingError: when the layers do not fit together, or the function's network is not of this kind.
    """
    policy = keras.DTypePolicy(precision)
    name = (name or recipe.name).replace("-", "_")
    image = keras.Input((28, 28, 1), dtype="uint8", name="image")
    if recipe.model:
        return keras.Model(image, _by_function(recipe, image, policy), name=name)
    try:
        x = keras.layers.Rescaling(recipe.scaling.scale, recipe.scaling.offset, dtype=policy, name="scaling")(image)
        for number, layer in enumerate(recipe.layers):
            x = _add(layer, x, policy, seed=dropout_seed * 1000 + number, as_matmul=as_matmul)
    except (ValueError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise TrainingError(f"the layers of {recipe.name} do not fit together: {reason}") from None
    if x.shape != (None, 10):
        raise TrainingError(f"the layers of {recipe.name} give values of shape {tuple(x.shape[1:])}; expected (10,)")
    return keras.Model(image, x, name=name)


def input_of(network: Any, where: object) -> tuple[tuple[int, ...], str]:
    """The shape and dtype of the one input of a network with one output of ten values.

    Args:
        network: a Keras model.
        where: what it comes from, for errors.

    Raises:
        TrainingError: when it has other inputs or outputs.
    """
    try:
        inputs, outputs = network.inputs, network.outputs
    except AttributeError:
        inputs = None
    if not inputs:
        raise TrainingError(f"{where} does not know its input: build the network on 28x28 images and save it again")
    # Outputs by name are not a single tensor. A Sequential has no names, and no `output` before it is called.
    named = not isinstance(network, keras.Sequential) and not isinstance(network.output, keras.KerasTensor)
    if named or len(inputs) != 1 or len(outputs) != 1:
        raise TrainingError(
            f"{where} has {len(inputs)} inputs and {len(outputs)} outputs; expected a single one of each"
        )
    shape, gives = tuple(inputs[0].shape[1:]), tuple(outputs[0].shape[1:])
    if shape not in ((28, 28), (28, 28, 1), (784,)):
        raise TrainingError(f"{where} takes images of shape {shape}; expected (28, 28), (28, 28, 1) or (784,)")
    if gives != (10,):
        raise TrainingError(f"{where} gives {gives} values; expected ten probabilities")
    return shape, str(inputs[0].dtype)


def join(networks: Sequence[keras.Model], name: str) -> keras.Model:
    """Join networks, each with a name of its own, in one that answers with the mean of their probabilities.

    Its weights are those of the first, then those of the second, and so on.
    """
    image = keras.Input((28, 28, 1), dtype="uint8", name="image")
    answers = [network(image) for network in networks]
    return keras.Model(image, keras.layers.Average(name="probabilities")(answers), name=name.replace("-", "_"))


def answers(network: keras.Model) -> list[keras.KerasTensor]:
    """The outputs of the networks that were joined in this one; of a single network, its own output."""
    last = network.layers[-1]
    return list(last.input) if isinstance(last, keras.layers.Average) else [network.output]


def scale_logits(weights: Weights, factor: float) -> Weights:
    """Multiply a network's ten logits by ``factor``: its confidence changes, its answers do not.

    Args:
        weights: in Keras's order; the last two are the kernel and the bias of the layer that gives the logits.
        factor: 1 for no change.
    """
    if factor == 1:
        return weights
    return [*weights[:-2], *((array * factor).astype("float32") for array in weights[-2:])]


class _MatmulConv2D(keras.layers.Conv2D):  # type: ignore[misc]  # Keras has no types
    """A convolution of stride 1 without padding as one matrix product of all windows, one a row, and the kernel."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        rows, columns, channels, filters = kernel.shape
        height, width = inputs.shape[1] - rows + 1, inputs.shape[2] - columns + 1
        shifted = [inputs[:, y : y + height, x : x + width] for y in range(rows) for x in range(columns)]
        windows = keras.ops.reshape(keras.ops.concatenate(shifted, axis=-1), (-1, rows * columns * channels))
        values = keras.ops.matmul(windows, keras.ops.reshape(kernel, (-1, filters)))
        return keras.ops.reshape(values, (-1, height, width, filters))


def _by_function(recipe: Recipe, image: keras.KerasTensor, policy: keras.DTypePolicy) -> keras.KerasTensor:
    """The ten probabilities of the network that the recipe's function builds."""
    assert recipe.model is not None
    with _default_policy(policy):
        network = model_function.call(recipe.model)
    shape, dtype = input_of(network, recipe.model)
    # As a network's probabilities may have to be float32 while it computes in another type.
    last = keras.layers.Activation("linear", dtype="float32", name="probabilities")
    blank = np.asarray(last(network(np.zeros((1, *shape), "uint8"), training=False)))
    if not np.allclose(blank.sum(axis=1), 1, atol=0.01) or blank.min() < 0:
        raise TrainingError(f"the ten values of {recipe.model} are no probabilities: end the network with a softmax")
    x = image
    if not dtype.startswith(("int", "uint")):
        x = keras.layers.Rescaling(recipe.scaling.scale, recipe.scaling.offset, dtype=policy, name="scaling")(x)
    x = keras.layers.Reshape(shape, dtype=policy, name="shape")(x)
    return last(network(x))


@contextmanager
def _default_policy(policy: keras.DTypePolicy) -> Iterator[None]:
    """Let layers that are made meanwhile have this policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _add(
    layer: Layer, x: keras.KerasTensor, policy: keras.DTypePolicy, *, seed: int, as_matmul: bool
) -> keras.KerasTensor:
    match layer:
        case Conv(filters, kernel_size, stride, padding, batch_norm, activation):
            possible = stride == 1 and padding == "valid" and x.shape[-1] >= MATMUL_CHANNELS
            kind = _MatmulConv2D if as_matmul and possible else keras.layers.Conv2D
            x = kind(filters, kernel_size, stride, padding, use_bias=not batch_norm, dtype=policy)(x)
            if batch_norm:
                x = keras.layers.BatchNormalization(momentum=0.9, dtype=policy)(x)
            return keras.layers.Activation(activation, dtype=policy)(x) if activation not in (None, "linear") else x
        case MaxPool(pool_size):
            return keras.layers.MaxPooling2D(pool_size, dtype=policy)(x)
        case Flatten():
            return keras.layers.Flatten(dtype=policy)(x)
        case Dropout(rate):
            return keras.layers.Dropout(rate, seed=seed, dtype=policy)(x)
        case Dense(units, activation, initializer):
            if initializer == "torch":
                # A variance of 1/3n is uniform between plus and minus one over the square root of n.
                initializer = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
            return keras.layers.Dense(units, activation, kernel_initializer=initializer, dtype=policy)(x)
        case Softmax():
            return keras.layers.Softmax(dtype="float32", name="probabilities")(x)
