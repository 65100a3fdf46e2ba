"""Pictures that show no digit, made here: blank pages, noise and textures, to see whether they are declined.

Made otherwise than those of ``drawing``, on purpose: those are learned from.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

COUNT = 200

# Pixels of a picture's side: MNIST's, that of a drawing box, that of a small photo.
SIDES = (28, 112, 280)

Picture = NDArray[np.uint8]  # (side, side), grey
Floats = NDArray[np.float64]  # the same, 0 to 1


def blank(side: int, random: np.random.Generator) -> Picture:
    """A page of any brightness: even, or unevenly lit with the grain of a camera, half of each."""
    page = np.full((side, side), random.uniform(0, 1))
    if random.random() < 0.5:
        page = 0.1 + 0.8 * page + random.uniform(0, 0.1) * _ramp(side, random)
        page += random.normal(0, random.uniform(0.002, 0.01), page.shape)
    return _levels(page)


def noise(side: int, random: np.random.Generator) -> Picture:
    """Independent pixels: even over the whole range, normal around grey, or sparse dots; sometimes in blocks."""
    block = int(random.choice([1, 2, 4]))
    shape = (-(-side // block),) * 2
    kind = random.integers(3)
    if kind == 0:
        values = random.uniform(0, 1, shape)
    elif kind == 1:
        values = random.normal(0.5, random.uniform(0.05, 0.3), shape)
    else:
        dark = random.random() < 0.5
        values = ((random.random(shape) < random.uniform(0.02, 0.3)) ^ dark).astype(np.float64)
    return _levels(np.kron(values, np.ones((block, block)))[:side, :side])


def textures(side: int, random: np.random.Generator) -> Picture:
    """A pattern all over: stripes, squares, rings, dots or clouds, from two to eight times a side, in two greys."""
    times = random.uniform(2, 8)
    kind = random.integers(5)
    along, across = _ramp(side, random), _ramp(side, random)
    if kind == 0:
        pattern = np.sin(2 * np.pi * times * along)
    elif kind == 1:
        steps = np.arange(side) * times / side
        pattern = np.where((steps[:, None] % 1 < 0.5) ^ (steps % 1 < 0.5), 1.0, -1.0)
    elif kind == 2:
        places = np.arange(side) / side - random.uniform(0, 1, 2)[:, None]
        pattern = np.sin(2 * np.pi * times * np.hypot(places[0][:, None], places[1]))
    elif kind == 3:
        wave = np.sin(2 * np.pi * times * np.arange(side) / side)
        pattern = np.where(wave[:, None] * wave > 0.5, 1.0, -1.0)
    else:
        waves = [
            np.sin(2 * np.pi * (octave * times * ramp + random.uniform())) / octave
            for octave in (1, 2, 4)
            for ramp in (along, across, _ramp(side, random))
        ]
        pattern = np.sum(waves, axis=0)
    ground, ink = random.permutation([random.uniform(0, 0.4), random.uniform(0.6, 1)])
    low, high = np.min(pattern), np.max(pattern)
    return _levels(ground + (ink - ground) * (pattern - low) / (high - low))


GROUPS: dict[str, Callable[[int, np.random.Generator], Picture]] = {
    "blank": blank,
    "noise": noise,
    "textures": textures,
}


def make(group: str, count: int = COUNT, seed: int = 0) -> list[Picture]:
    """As many pictures of a group, of all sizes in turn; always the same ones for the same seed."""
    random = np.random.default_rng([seed, list(GROUPS).index(group)])
    return [GROUPS[group](SIDES[number % len(SIDES)], random) for number in range(count)]


def _ramp(side: int, random: np.random.Generator) -> Floats:
    """Rising by about 1 across the picture in some direction."""
    angle = random.uniform(0, 2 * np.pi)
    places = np.arange(side) / side
    result: Floats = np.sin(angle) * places[:, None] + np.cos(angle) * places
    return result


def _levels(values: NDArray[np.floating[Any]]) -> Picture:
    levels: Picture = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return levels
