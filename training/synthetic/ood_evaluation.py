"""Pictures that show no digit, to measure how many are rejected: blank pages, noise and textures.

Made in other ways than those of ``ood`` on purpose, as those are learned from.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.synthetic.pixels import Floats, Random, gradient, to_uint8

COUNT = 200

# Pixels of a picture's side, as of MNIST, of a drawing box, and of a small photo.
SIDES = (28, 112, 280)

Picture = NDArray[np.uint8]  # (side, side), grey


def blank(side: int, random: Random) -> Picture:
    """An empty page of any brightness; half of them even, half unevenly lit and with a camera's grain."""
    page = np.full((side, side), random.uniform(0, 1))
    if random.random() < 0.5:
        page = 0.1 + 0.8 * page + random.uniform(0, 0.1) * _ramp(side, random)
        page += random.normal(0, random.uniform(0.002, 0.01), page.shape)
    return to_uint8(255 * np.clip(page, 0, 1))


def noise(side: int, random: Random) -> Picture:
    """Independent pixels, or blocks of them: uniform, normal around grey, or sparse dots."""
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
    return to_uint8(255 * np.clip(np.kron(values, np.ones((block, block)))[:side, :side], 0, 1))


def textures(side: int, random: Random) -> Picture:
    """A pattern all over, two to eight periods a side: stripes, squares, rings, dots or clouds."""
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
    background, foreground = random.permutation([random.uniform(0, 0.4), random.uniform(0.6, 1)])
    low, high = np.min(pattern), np.max(pattern)
    return to_uint8(255 * np.clip(background + (foreground - background) * (pattern - low) / (high - low), 0, 1))


GROUPS: dict[str, Callable[[int, Random], Picture]] = {
    "blank": blank,
    "noise": noise,
    "textures": textures,
}


def make(group: str, count: int = COUNT, seed: int = 0) -> list[Picture]:
    """Make pictures of a group, of all sizes in turn.

    Args:
        group: one of GROUPS.
        count: how many.
        seed: the same seed gives the same pictures.

    Returns:
        uint8 arrays (side, side), side of SIDES.
    """
    random = np.random.default_rng([seed, list(GROUPS).index(group)])
    return [GROUPS[group](SIDES[number % len(SIDES)], random) for number in range(count)]


def _ramp(side: int, random: Random) -> Floats:
    """A plane that rises by about 1 across the picture, in a random direction."""
    places = np.arange(side) / side
    return gradient(places, places, random)
