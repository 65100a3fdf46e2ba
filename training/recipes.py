"""Recipes: everything that decides how a network is trained, as data."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from training.errors import TrainingError


@dataclass(frozen=True)
class Conv:
    """A 2-D convolution over a square window; with batch normalisation it has no bias of its own."""

    filters: int
    window: int = 3
    stride: int = 1
    padding: Literal["valid", "same"] = "valid"
    batch_norm: bool = False
    activation: str | None = "relu"


@dataclass(frozen=True)
class MaxPool:
    """The largest value of each square window."""

    window: int = 2


@dataclass(frozen=True)
class Flatten:
    """Rows, columns and channels as one vector."""


@dataclass(frozen=True)
class Dropout:
    """Zeroes this share of the values, in training only."""

    rate: float


@dataclass(frozen=True)
class Dense:
    """A fully connected layer."""

    units: int
    activation: str | None = None


@dataclass(frozen=True)
class Softmax:
    """Ten scores to ten probabilities; always in float32."""


Layer = Conv | MaxPool | Flatten | Dropout | Dense | Softmax


@dataclass(frozen=True)
class Scaling:
    """How bytes become the network's numbers: value * scale + offset. Part of the network."""

    scale: float = 1 / 255
    offset: float = 0.0


@dataclass(frozen=True)
class Augmentation:
    """Random views of a training image: one affine warp, a smooth elastic field, and erasing.

    rotate: degrees either way. zoom: lowest and highest scale. shear: slant either way.
    shift: pixels either way. elastic: standard deviation of the displacement, in pixels.
    elastic_grid: knots a side of the displacement field; fewer make it smoother.
    erase: chance that a box of 3 to 9 pixels a side is emptied.
    """

    rotate: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    elastic_grid: int = 5
    erase: float = 0.0


@dataclass(frozen=True)
class Optimiser:
    """A Keras optimiser by class name. The rate rises linearly over ``warmup`` (share of all steps) to
    ``rate``, then stays (``constant``) or falls along half a cosine to ``rate * floor``.
    """

    name: str
    rate: float
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: float = 0.0
    floor: float = 0.0
    momentum: float | None = None
    weight_decay: float | None = None


@dataclass(frozen=True)
class Recipe:
    """All settings of one training.

    loss: a Keras loss over one-hot labels. label_smoothing: share of each label spread over all ten.
    average: number of last epochs whose weights are averaged into the final network (0: the last alone).
    """

    name: str
    summary: str
    layers: tuple[Layer, ...]
    optimiser: Optimiser
    batch: int
    epochs: int
    loss: str = "categorical_crossentropy"
    label_smoothing: float = 0.0
    scaling: Scaling = Scaling()
    augmentation: Augmentation | None = None
    average: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, each layer with its kind."""
        settings = dataclasses.asdict(self)
        settings["layers"] = [{"kind": type(layer).__name__, **dataclasses.asdict(layer)} for layer in self.layers]
        return settings

    def digest(self) -> str:
        """SHA-256 of the settings; two recipes with the same digest train alike."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


_DEFAULT = Recipe(
    name="default",
    summary="seven 3x3 convolutions with batch normalisation, affine and elastic augmentation",
    layers=(
        Conv(32, batch_norm=True),
        Conv(32, batch_norm=True),
        Conv(48, stride=2, batch_norm=True),
        Conv(64, batch_norm=True),
        Conv(64, batch_norm=True),
        Conv(96, batch_norm=True),
        Conv(96, batch_norm=True),
        Flatten(),
        Dropout(0.3),
        Dense(10),
        Softmax(),
    ),
    optimiser=Optimiser("SGD", rate=0.08, schedule="cosine", warmup=0.15, floor=0.01, momentum=0.9),
    batch=128,
    epochs=40,
    augmentation=Augmentation(
        rotate=12, zoom=(0.88, 1.12), shear=0.15, shift=2.0, elastic=0.8, elastic_grid=6, erase=0.2
    ),
    average=6,
)

RECIPES = {recipe.name: recipe for recipe in (_DEFAULT,)}


def find(name: str) -> Recipe:
    """The recipe of this name. Raises TrainingError that lists all names when there is none."""
    try:
        return RECIPES[name]
    except KeyError:
        raise TrainingError(f"there is no recipe {name!r}; there are: {', '.join(RECIPES)}") from None
