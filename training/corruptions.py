"""The fifteen corruptions of MNIST-C (Mu and Gilmer, 2019, arXiv:1906.02337), written anew from what the paper says.

Each takes uint8 (n, 28, 28), ground 0 and ink up to 255, and a source of chance, and gives new images of the same
shape. They hurt as much as MNIST-C's at its default severities, whose numbers stand with each; pixels are not the
same as there. A person still reads the digits.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.registry.manifest import Metrics
from training import markdown

SIDE = 28

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]  # the same images, 0 to 1


def shot_noise(images: Images, random: np.random.Generator) -> Images:
    """Light that comes in single photons: 3 of them at full ink."""
    return _levels(random.poisson(_floats(images) * 3).astype(np.float32) / 3)


def impulse_noise(images: Images, random: np.random.Generator) -> Images:
    """Salt and pepper: 17 % of the pixels are white or black, as many one as the other."""
    chance = random.random(images.shape, np.float32)
    return np.where(chance < 0.085, 0, np.where(chance >= 1 - 0.085, 255, images)).astype(np.uint8)


def glass_blur(images: Images, random: np.random.Generator) -> Images:
    """As through ribbed glass: pixels change places with neighbours between two blurs of 0.7 pixels.

    One pass over the image: in the order taken here a second one, as in the paper, leaves little to read.
    """
    values = _blurred(_floats(images), 0.7)
    every = np.arange(len(values))
    for row in range(1, SIDE):
        for column in range(1, SIDE):
            rows, columns = np.array([[row], [column]]) - random.integers(0, 2, (2, len(values)))
            here = values[:, row, column].copy()
            values[:, row, column] = values[every, rows, columns]
            values[every, rows, columns] = here
    return _levels(_blurred(values, 0.7))


def motion_blur(images: Images, random: np.random.Generator) -> Images:
    """Dragged along a line within 45 degrees of level; the trail fades as a normal curve of 3 pixels does."""
    values, result = _floats(images), np.zeros(images.shape, np.float32)
    angle = random.uniform(-np.pi / 4, np.pi / 4, len(images))
    direction = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    steps = np.arange(11)
    weights = np.exp(-((steps / 3) ** 2) / 2)
    for step, weight in zip(steps, weights / weights.sum(), strict=True):
        result += np.float32(weight) * _warped(values, _same(len(images)), step * direction)
    return _levels(result)


def shear(images: Images, random: np.random.Generator) -> Images:
    """Slanted to one side or the other: 0.4 columns for each row."""
    matrices = _same(len(images))
    matrices[:, 1, 0] = 0.4 * _sign(random, len(images))
    return _levels(_warped(_floats(images), matrices))


def scale(images: Images, random: np.random.Generator) -> Images:
    """Made smaller, to 0.7."""
    return _levels(_warped(_floats(images), _same(len(images)) / 0.7))


def rotate(images: Images, random: np.random.Generator) -> Images:
    """Turned by 0.4 radians, 23 degrees, to one side or the other."""
    sine, cosine = np.sin(0.4) * _sign(random, len(images)), np.full(len(images), np.cos(0.4))
    matrices = np.stack([cosine, -sine, sine, cosine], axis=1).reshape(-1, 2, 2)
    return _levels(_warped(_floats(images), matrices))


def brightness(images: Images, random: np.random.Generator) -> Images:
    """Half of the full range lighter everywhere, so that the ground is grey and the ink less over it."""
    return _levels(_floats(images) + np.float32(0.5))


def translate(images: Images, random: np.random.Generator) -> Images:
    """Shifted by three pixels both ways, each to one side or the other."""
    shifts = 3 * np.stack([_sign(random, len(images)), _sign(random, len(images))], axis=1)
    return _levels(_warped(_floats(images), _same(len(images)), shifts))


def stripe(images: Images, random: np.random.Generator) -> Images:
    """The first and last seven columns are inverted, which leaves a dark stripe upright in the middle."""
    result = images.copy()
    for columns in (slice(0, 7), slice(21, SIDE)):
        result[:, :, columns] = 255 - images[:, :, columns]
    return result


def fog(images: Images, random: np.random.Generator) -> Images:
    """A haze three times as strong as the ink; noise of ever finer grids, each 1.4 times weaker than the one before.

    The paper takes its haze from the diamond-square algorithm, which has the same spectrum.
    """
    return _levels((_floats(images) + 3 * _clouds(len(images), random, 1.4)) / 4)


def spatter(images: Images, random: np.random.Generator) -> Images:
    """Grey blobs, two or three pixels wide, on a tenth of the image."""
    wet = _blurred(random.standard_normal(images.shape, np.float32), 1.0)
    least = np.quantile(wet, 0.9, axis=(1, 2), keepdims=True)
    most = wet.max(axis=(1, 2), keepdims=True)
    blobs = np.where(wet > least, 0.4 + 0.6 * (wet - least) / (most - least), 0)
    return _levels(np.maximum(_floats(images), blobs))


def dotted_line(images: Images, random: np.random.Generator) -> Images:
    """A line of dots across the image from side to side, every other two columns."""
    line = _stroke(*_slope(len(images), random), thickness=1.5)
    line[:, :, np.arange(SIDE) % 4 >= 2] = 0
    return np.maximum(images, _levels(line))


def zigzag(images: Images, random: np.random.Generator) -> Images:
    """A zigzag across the image from side to side, four pixels high, a turn every four columns."""
    rows, steepness = _slope(len(images), random)
    phase = (np.arange(SIDE) + random.integers(0, 8, (len(images), 1))) % 8
    return np.maximum(images, _levels(_stroke(rows + np.abs(phase - 4) - 2, steepness + 1, thickness=1.5)))


def canny_edges(images: Images, random: np.random.Generator) -> Images:
    """White outlines of one pixel, by Canny's edge detector (1986): a blur of 1 pixel, Sobel's sums, in which a step
    to full ink would count 4, thresholds of 0.1 and 0.2.
    """
    values = _blurred(_floats(images), 1.0)
    smooth = {axis: _moved(values, axis, 1) + 2 * values + _moved(values, axis, -1) for axis in (1, 2)}
    down = _moved(smooth[2], 1, -1) - _moved(smooth[2], 1, 1)
    right = _moved(smooth[1], 2, -1) - _moved(smooth[1], 2, 1)
    strength = np.hypot(down, right)
    # Only ridges stay: pixels no weaker than both neighbours across the edge, in the nearest of four directions.
    sector = np.rint(np.arctan2(down, right) / (np.pi / 4)).astype(np.int8) % 4
    ridge = np.zeros(images.shape, np.bool_)
    for number, (rows, columns) in enumerate([(0, 1), (1, 1), (1, 0), (1, -1)]):
        before = _moved(_moved(strength, 1, rows), 2, columns)
        after = _moved(_moved(strength, 1, -rows), 2, -columns)
        # Of two that are equal the first is taken, or edges would be two pixels thick.
        ridge |= (sector == number) & (strength > before) & (strength >= after)
    weak = ridge & (strength >= 0.1)
    edges = weak & (strength >= 0.2)
    grown = -1
    while grown != (grown := int(edges.sum())):  # along weak edges that touch strong ones
        row = edges | _moved(edges, 2, 1) | _moved(edges, 2, -1)
        edges = weak & (row | _moved(row, 1, 1) | _moved(row, 1, -1))
    return _levels(edges.astype(np.float32))


CORRUPTIONS: dict[str, Callable[[Images, np.random.Generator], Images]] = {
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
    """The images with one of the corruptions; always the same ones for the same seed."""
    return CORRUPTIONS[name](images, np.random.default_rng([seed, list(CORRUPTIONS).index(name)]))


def table(plain: Metrics, corrupted: Mapping[str, Metrics]) -> str:
    """Markdown: accuracy and share accepted for each corruption, their mean and the worst, beside the images as they
    are.
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


def _clouds(count: int, random: np.random.Generator, decay: float) -> Floats:
    """Fractal noise, float32 (count, 28, 28), each from 0 to 1: grids of 2, 3, 5 … values a side, each weaker."""
    result = np.zeros((count, SIDE, SIDE), np.float32)
    for octave in range(5):
        points = 2**octave + 1
        grid = random.uniform(-1, 1, (count, points, points)).astype(np.float32)
        places = np.linspace(0, points - 1, SIDE)[:, None] - np.arange(points)
        between = np.maximum(1 - np.abs(places), 0).astype(np.float32)
        result += np.float32(decay**-octave) * (between @ grid @ between.T)
    result -= result.min(axis=(1, 2), keepdims=True)
    result /= result.max(axis=(1, 2), keepdims=True)
    return result


def _floats(images: Images) -> Floats:
    return images.astype(np.float32) / np.float32(255)


def _levels(values: NDArray[np.floating[Any]]) -> Images:
    levels: Images = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return levels


def _sign(random: np.random.Generator, count: int) -> NDArray[np.float64]:
    return random.choice(np.array([-1.0, 1.0]), count)


def _same(count: int) -> NDArray[np.float64]:
    return np.tile(np.eye(2), (count, 1, 1))


def _blurred(values: Floats, sigma: float) -> Floats:
    """By a normal curve; beyond the border there is ground."""
    places = np.arange(SIDE)
    curve = np.exp(-(((places[:, None] - places) / sigma) ** 2) / 2)
    curve = (curve / curve[SIDE // 2].sum()).astype(np.float32)
    result: Floats = curve @ values @ curve
    return result


def _warped(values: Floats, matrices: NDArray[np.float64], shifts: NDArray[np.float64] | float = 0.0) -> Floats:
    """Each pixel from where its matrix (n, 2, 2), rows and columns from the middle, points to; bilinear.

    shifts: by how many rows and columns the result is moved then, (n, 2).
    """
    middle = (SIDE - 1) / 2
    grid = np.stack(np.meshgrid(*[np.arange(SIDE) - middle] * 2, indexing="ij")).reshape(2, -1)
    moved = np.broadcast_to(shifts, (len(values), 2))[:, :, None]
    result = np.empty_like(values)
    for start in range(0, len(values), 100):  # as many as the processor's cache holds
        part = slice(start, start + 100)
        # Two pixels of ground all around, so that whatever points outside finds ground.
        padded = np.pad(values[part], ((0, 0), (2, 2), (2, 2)))
        wide = SIDE + 4
        places = np.clip(matrices[part] @ (grid - moved[part]) + middle + 2, 0.5, wide - 1.5)
        whole = places.astype(np.int64)
        row, column = np.moveaxis((places - whole).astype(np.float32), 1, 0)
        corner = np.arange(len(padded))[:, None] * wide**2 + whole[:, 0] * wide + whole[:, 1]
        upper = (1 - column) * padded.take(corner) + column * padded.take(corner + 1)
        lower = (1 - column) * padded.take(corner + wide) + column * padded.take(corner + wide + 1)
        result[part] = ((1 - row) * upper + row * lower).reshape(-1, SIDE, SIDE)
    return result


def _slope(count: int, random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rows (n, 28) at which straight lines pass each column, from side to side; and how steep they are (n, 1)."""
    start, end = random.uniform(7, SIDE - 8, (2, count, 1))
    return start + (end - start) * np.arange(SIDE) / (SIDE - 1), np.abs(end - start) / (SIDE - 1)


def _stroke(rows: NDArray[np.float64], steepness: NDArray[np.float64], thickness: float) -> Floats:
    """A curve that passes each column at a row, (n, 28), as ink; soft at its edges."""
    distance = np.abs(np.arange(SIDE)[:, None] - rows[:, None, :]) / np.hypot(1, steepness)[:, :, None]
    return np.clip(thickness / 2 + 0.5 - distance, 0, 1).astype(np.float32)


def _moved(values: NDArray[Any], axis: int, by: int) -> NDArray[Any]:
    """Moved along an axis; ground comes in."""
    result = np.roll(values, by, axis)
    if by:
        index: list[slice] = [slice(None)] * values.ndim
        index[axis] = slice(0, by) if by > 0 else slice(by, None)
        result[tuple(index)] = 0
    return result
