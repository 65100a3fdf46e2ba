"""The fifteen corruptions of MNIST-C (Mu and Gilmer, 2019, arXiv:1906.02337), written from the paper's description.

Each takes uint8 (n, 28, 28), background 0 and foreground up to 255, and a random generator, and gives new images of the
same shape. They are as severe as MNIST-C at its default settings, whose numbers stand with each; the pixels are not the
same. A person still reads the digits.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.registry.manifest import Metrics
from training import markdown
from training.synthetic.pixels import SIDE, Random, blur, to_uint8, warp

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]  # the same images, 0 to 1

SAME = np.eye(2)
SOBEL = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]], np.float32)  # of brightness that rises downwards


def shot_noise(images: Images, random: Random) -> Images:
    """Light that comes in single photons: 3 of them for a white pixel."""
    return _levels(random.poisson(_floats(images) * 3).astype(np.float32) / 3)


def impulse_noise(images: Images, random: Random) -> Images:
    """Salt and pepper: 17 % of the pixels are white or black, as many one as the other."""
    chance = random.random(images.shape, np.float32)
    return np.where(chance < 0.085, 0, np.where(chance >= 1 - 0.085, 255, images)).astype(np.uint8)


def glass_blur(images: Images, random: Random) -> Images:
    """As through frosted glass: pixels change places with neighbours between two blurs of 0.7 pixels.

    One pass over the image: in this order a second one, as in the paper, leaves little to read.
    """
    values = blur(_floats(images), 0.7)
    every = np.arange(len(values))
    for row in range(1, SIDE):
        for column in range(1, SIDE):
            rows, columns = np.array([[row], [column]]) - random.integers(0, 2, (2, len(values)))
            here = values[:, row, column].copy()
            values[:, row, column] = values[every, rows, columns]
            values[every, rows, columns] = here
    return _levels(blur(values, 0.7))


def motion_blur(images: Images, random: Random) -> Images:
    """Dragged along a line within 45 degrees of the horizontal; the trail fades like a Gaussian of 3 pixels."""
    values, result = _floats(images), np.zeros(images.shape, np.float32)
    angle = random.uniform(-np.pi / 4, np.pi / 4, len(images))
    direction = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    steps = np.arange(11)
    weights = np.exp(-((steps / 3) ** 2) / 2)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        result += np.float32(weight) * warp(values, SAME, step * direction)
    return _levels(result)


def shear(images: Images, random: Random) -> Images:
    """Slanted to the left or the right: 0.4 columns for each row."""
    matrices = np.tile(SAME, (len(images), 1, 1))
    matrices[:, 1, 0] = 0.4 * _sign(random, len(images))
    return _levels(warp(_floats(images), matrices))


def scale(images: Images, random: Random) -> Images:
    """Made smaller, to 0.7."""
    return _levels(warp(_floats(images), SAME / 0.7))


def rotate(images: Images, random: Random) -> Images:
    """Rotated by 0.4 radians, 23 degrees, to the left or the right."""
    sine, cosine = np.sin(0.4) * _sign(random, len(images)), np.full(len(images), np.cos(0.4))
    matrices = np.stack([cosine, -sine, sine, cosine], axis=1).reshape(-1, 2, 2)
    return _levels(warp(_floats(images), matrices))


def brightness(images: Images, random: Random) -> Images:
    """Lighter by half of the full range, so that the background is grey and the contrast lower."""
    return _levels(_floats(images) + np.float32(0.5))


def translate(images: Images, random: Random) -> Images:
    """Shifted by three pixels to the left or the right, and up or down."""
    shifts = 3 * np.stack([_sign(random, len(images)), _sign(random, len(images))], axis=1)
    return _levels(warp(_floats(images), SAME, shifts))


def stripe(images: Images, random: Random) -> Images:
    """The first and the last seven columns are inverted, which leaves a dark vertical stripe in the middle."""
    result = images.copy()
    for columns in (slice(0, 7), slice(21, SIDE)):
        result[:, :, columns] = 255 - images[:, :, columns]
    return result


def fog(images: Images, random: Random) -> Images:
    """A haze three times as strong as the image: noise on ever finer grids, each 1.4 times weaker than the one before.

    The paper makes its haze by the diamond-square algorithm, which has the same spectrum.
    """
    return _levels((_floats(images) + 3 * _clouds(len(images), random, 1.4)) / 4)


def spatter(images: Images, random: Random) -> Images:
    """Grey blobs of two or three pixels on a tenth of the image."""
    wet = blur(random.standard_normal(images.shape, np.float32), 1.0)
    least = np.quantile(wet, 0.9, axis=(1, 2), keepdims=True)
    most = wet.max(axis=(1, 2), keepdims=True)
    blobs = np.where(wet > least, 0.4 + 0.6 * (wet - least) / (most - least), 0)
    return _levels(np.maximum(_floats(images), blobs))


def dotted_line(images: Images, random: Random) -> Images:
    """A dotted line from the left side to the right: two columns in four."""
    line = _stroke(*_slope(len(images), random), thickness=1.5)
    line[:, :, np.arange(SIDE) % 4 >= 2] = 0
    return np.maximum(images, _levels(line))


def zigzag(images: Images, random: Random) -> Images:
    """A zigzag from the left side to the right, four pixels high, with a turn every four columns."""
    rows, steepness = _slope(len(images), random)
    phase = (np.arange(SIDE) + random.integers(0, 8, (len(images), 1))) % 8
    return np.maximum(images, _levels(_stroke(rows + np.abs(phase - 4) - 2, steepness + 1, thickness=1.5)))


def canny_edges(images: Images, random: Random) -> Images:
    """White outlines of one pixel by Canny's edge detector (1986).

    A blur of 1 pixel, then Sobel's filter, in which a step from 0 to 1 counts 4, and thresholds of 0.1 and 0.2.
    """
    values = blur(_floats(images), 1.0)
    down = ndimage.correlate(values, SOBEL[None], mode="constant")
    right = ndimage.correlate(values, SOBEL.T[None], mode="constant")
    strength = np.hypot(down, right)
    padded = np.pad(strength, ((0, 0), (1, 1), (1, 1)))
    # Only ridges stay: pixels no weaker than both neighbours across the edge, in the nearest of four directions.
    sector = np.rint(np.arctan2(down, right) / (np.pi / 4)).astype(np.int8) % 4
    ridge = np.zeros(images.shape, np.bool_)
    for number, (row, column) in enumerate([(0, 1), (1, 1), (1, 0), (1, -1)]):
        before = padded[:, 1 - row : 1 - row + SIDE, 1 - column : 1 - column + SIDE]
        after = padded[:, 1 + row : 1 + row + SIDE, 1 + column : 1 + column + SIDE]
        # Of two equal pixels the first is taken, or edges would be two pixels thick.
        ridge |= (sector == number) & (strength > before) & (strength >= after)
    weak = ridge & (strength >= 0.1)
    strong = weak & (strength >= 0.2)
    edges = ndimage.binary_propagation(strong, np.ones((1, 3, 3)), mask=weak)
    return _levels(edges.astype(np.float32))


CORRUPTIONS: dict[str, Callable[[Images, Random], Images]] = {
    "shot noise": shot_noise,
    "impulse noise": impulse_noise,
    "glass blur": glass_blur,
    "motion blur": motion_blur,
    "shear": shear,
    "scale": scale,
    "rotate": rotate,
    "brightness": brightness,
    "translate": translate,
    "stripe": stripe,
    "fog": fog,
    "spatter": spatter,
    "dotted line": dotted_line,
    "zigzag": zigzag,
    "canny edges": canny_edges,
}


def corrupt(name: str, images: Images, seed: int = 0) -> Images:
    """Corrupt images.

    Args:
        name: one of CORRUPTIONS.
        images: uint8 (n, 28, 28).
        seed: the same seed gives the same images.

    Returns:
        uint8 (n, 28, 28).
    """
    return CORRUPTIONS[name](images, np.random.default_rng([seed, list(CORRUPTIONS).index(name)]))


def table(plain: Metrics, corrupted: Mapping[str, Metrics]) -> str:
    """A table of accuracy and coverage for each corruption, with their mean and the worst.

    Args:
        plain: metrics of the images without corruption.
        corrupted: metrics by corruption.

    Returns:
        Markdown.
    """
    shares = {name: (metrics.accuracy, metrics.accepted or 0.0) for name, metrics in corrupted.items()}
    worst = min(shares, key=lambda name: shares[name][0])
    mean = np.mean(list(shares.values()), axis=0).tolist()
    rows = {"none": (plain.accuracy, plain.accepted or 0.0)} | shares
    rows |= {"mean": (mean[0], mean[1]), f"worst: {worst}": shares[worst]}
    return markdown.table(
        ("corruption", "accuracy", "accepted"),
        [(name, f"{accuracy:.2%}", f"{accepted:.2%}") for name, (accuracy, accepted) in rows.items()],
    )


def _clouds(count: int, random: Random, decay: float) -> Floats:
    """Fractal noise, float32 (count, 28, 28), each 0 to 1: grids of 2, 3, 5 … values a side, each weaker."""
    result = np.zeros((count, SIDE, SIDE), np.float32)
    for octave in range(5):
        points = 2**octave + 1
        grid = random.uniform(-1, 1, (count, points, points)).astype(np.float32)
        zoom = SIDE / points
        result += np.float32(decay**-octave) * ndimage.zoom(grid, (1, zoom, zoom), order=1)
    result -= result.min(axis=(1, 2), keepdims=True)
    result /= result.max(axis=(1, 2), keepdims=True)
    return result


def _floats(images: Images) -> Floats:
    return images.astype(np.float32) / np.float32(255)


def _levels(values: NDArray[np.floating[Any]]) -> Images:
    return to_uint8(255 * values)


def _sign(random: Random, count: int) -> NDArray[np.float64]:
    return random.choice(np.array([-1.0, 1.0]), count)


def _slope(count: int, random: Random) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rows (n, 28) at which straight lines cross each column, from side to side; and their steepness (n, 1)."""
    start, end = random.uniform(7, SIDE - 8, (2, count, 1))
    return start + (end - start) * np.arange(SIDE) / (SIDE - 1), np.abs(end - start) / (SIDE - 1)


def _stroke(rows: NDArray[np.float64], steepness: NDArray[np.float64], thickness: float) -> Floats:
    """A stroke with soft edges that crosses each column at a row, (n, 28)."""
    distance = np.abs(np.arange(SIDE)[:, None] - rows[:, None, :]) / np.hypot(1, steepness)[:, :, None]
    return np.clip(thickness / 2 + 0.5 - distance, 0, 1).astype(np.float32)
