"""Draws strokes with a pen and fills outlines, on a canvas that is reduced to 28x28 afterwards."""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from app.vision.normalise import normalise as normalise  # the other makers have it from here
from training.synthetic.pixels import SIDE, Floats, Image28, Random, cloud, gradient, to_uint8

# Pixels: the canvas's side, and the skeleton's side on it. Slanted and thick strokes need the room around. At least
# four pixels of the canvas make one of 28x28, which gives smooth edges.
CANVAS_SIDE, SKELETON_SIDE = 160, 88

# Pixels of the canvas between the points of a stroke, few enough to keep sharp turns.
POINT_DISTANCE = 5

Canvas = NDArray[np.float32]  # (160, 160), 0 to 255


@dataclass(frozen=True)
class Hand:
    """How somebody writes, and with which pen. Lengths are shares of the skeleton's side.

    Attributes:
        form: (2, 2) matrix of the slant, the rotation and the proportions.
        width: of the stroke.
        swell: how far width and pressure vary along a stroke.
        slack: standard deviation of the knots' places.
        tremor: standard deviation of the pen's shaking.
        nib: half the edge of a flat pen as a vector; None for a round pen.
        gaps: probability that a stroke breaks off for a moment.
    """

    form: Floats
    width: float
    swell: float
    slack: float
    tremor: float
    nib: Floats | None
    gaps: float


def random_hand(random: Random) -> Hand:
    """Choose somebody's way of writing, and a pen."""
    slant, turn = np.tan(np.deg2rad(np.clip(random.normal(6, 9), -15, 25))), np.deg2rad(random.normal(0, 3))
    proportions = np.diag([np.clip(random.normal(0.7, 0.13), 0.48, 1.05), 1])
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    width = float(np.clip(0.1 * np.exp(random.normal(0, 0.38)), 0.045, 0.2))
    angle = np.deg2rad(random.uniform(20, 60))
    flat = random.random() < 0.15
    neat = random.random() < 0.2
    return Hand(
        form=turned @ np.array([[1, -slant], [0, 1]]) @ proportions,
        width=width,
        swell=0.0 if neat else random.uniform(0, 0.25),
        slack=0.006 if neat else random.uniform(0.01, 0.03),
        tremor=0.0 if neat else max(0.0, random.normal(0.002, 0.004)),
        nib=np.array([np.cos(angle), -np.sin(angle)]) * width * 0.6 if flat else None,
        gaps=0.3 if random.random() < 0.1 else 0.0,
    )


def handwriting(skeleton: str, hand: Hand, random: Random) -> Canvas:
    """Draw a skeleton.

    Args:
        skeleton: in the notation of ``shapes.toml``.
        hand: who writes.
        random: the source of all that differs between two drawings in the same hand.

    Returns:
        float32 (160, 160), background 0, foreground up to 255.
    """
    image = Image.new("L", (CANVAS_SIDE, CANVAS_SIDE))
    pen = ImageDraw.Draw(image)
    blend = random.random()
    for weights, first, last in _strokes(skeleton):
        knots = first + blend * (last - first) + random.normal(0, hand.slack, first.shape)
        path = weights @ knots
        if hand.tremor:
            path = path + hand.tremor * random.normal(0, 1, path.shape)
        draw_stroke(pen, CANVAS_SIDE / 2 + SKELETON_SIDE * (path - 0.5) @ hand.form.T, hand, random)
    if random.random() < 0.3:
        image = image.filter(ImageFilter.BoxBlur(random.uniform(0.5, 2.5)))
    return np.asarray(image, np.float32)


def draw_stroke(pen: ImageDraw.ImageDraw, path: Floats, hand: Hand, random: Random) -> None:
    """Draw one stroke.

    Args:
        pen: draws on the canvas.
        path: (n, 2) points, x and y in pixels of the canvas.
        hand: its width, swell, nib and gaps.
        random: the source of pressure and gaps.
    """
    path = _resampled(path)
    count = len(path)
    # The pressure is a slow wave; it changes the width more than the blackness.
    wave = hand.swell * np.sin(random.uniform(0, 6.3) + np.linspace(0, random.uniform(2, 7), count))
    radii = np.maximum(SKELETON_SIDE * hand.width * (1 + wave) / 2, 1.5)
    blacks = (255 * np.clip(1 - 0.3 * hand.swell + 0.6 * wave, 0.4, 1)).astype(int).tolist()
    # A gap takes a pixel or two of the finished image, seldom near an end of the stroke.
    missing = 1 + int(2 * radii[0] / POINT_DISTANCE)
    broken = count > 4 * missing and random.random() < hand.gaps
    gap = int(random.integers(missing, count - 2 * missing)) if broken else count
    points, sizes = path.tolist(), radii.tolist()
    for n in range(count):
        if gap <= n < gap + missing:
            continue
        (x, y), radius, black = points[n], sizes[n], blacks[n]
        (u, v), joined = points[max(n - 1, 0)], n and n != gap + missing
        if hand.nib is not None:
            if joined:
                dx, dy = (SKELETON_SIDE * hand.nib).tolist()
                pen.polygon([(u - dx, v - dy), (x - dx, y - dy), (x + dx, y + dy), (u + dx, v + dy)], fill=black)
            radius *= 0.4  # a flat pen has some thickness too
        if joined:
            pen.line((u, v, x, y), fill=black, width=round(2 * radius))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=black)


def _resampled(path: Floats) -> Floats:
    """Put the points of a line at even distances."""
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    steps = np.linspace(0, along[-1], 2 + int(along[-1] / POINT_DISTANCE))
    return np.stack([np.interp(steps, along, path[:, 0]), np.interp(steps, along, path[:, 1])], 1)


@functools.cache
def _strokes(skeleton: str) -> list[tuple[Floats, Floats, Floats]]:
    """Parse a skeleton: for each stroke the (points, knots) weights of its curve, and (knots, 2) of both forms."""
    first, _, last = skeleton.partition(" ~ ")
    forms = zip(first.split(" | "), (last or first).split(" | "), strict=True)
    return [(_curve(one), knots_of(one), knots_of(two)) for one, two in forms]


def knots_of(stroke: str) -> Floats:
    """Parse the knots of a stroke or an outline: (n, 2), x and y in the unit square."""
    return np.array([(int(knot[:2]), int(knot[2:4])) for knot in stroke.split()]) / 100


def _curve(stroke: str) -> Floats:
    """Weights of the knots at each point of a stroke: Catmull-Rom splines between its sharp turns."""
    knots = stroke.split()
    count = len(knots)
    turns = [0, *(n for n in range(1, count - 1) if knots[n].endswith("!")), count - 1]
    closed = len(turns) == 2 and knots[0] == knots[-1]
    identity = np.eye(count)
    return np.concatenate([spline(identity[a : b + 1], closed) for a, b in itertools.pairwise(turns)])


def spline(knots: Floats, closed: bool) -> Floats:
    """Points of a cubic spline.

    Args:
        knots: (n, d), through which it leads.
        closed: whether it goes on smoothly from the last knot to the first, which are the same.

    Returns:
        (7 * (n - 1), d), seven points for each piece, its ends included.
    """
    before, after = np.roll(knots, 1, 0), np.roll(knots, -1, 0)
    before[0], after[-1] = (knots[-2], knots[1]) if closed else (knots[0], knots[-1])
    slopes = (after - before) / 2
    if not closed:  # the ends are straight
        slopes[0], slopes[-1] = knots[1] - knots[0], knots[-1] - knots[-2]
    t = np.linspace(0, 1, 7)[:, None]
    pieces = [
        (1 + 2 * t) * (1 - t) ** 2 * knots[n]
        + t * (1 - t) ** 2 * slopes[n]
        + t**2 * (3 - 2 * t) * knots[n + 1]
        + t**2 * (t - 1) * slopes[n + 1]
        for n in range(len(knots) - 1)
    ]
    return np.concatenate(pieces)


def filled(outline: Floats, random: Random) -> Canvas:
    """Fill an outline: evenly, shaded or mottled, sometimes with a rim.

    Args:
        outline: (n, 2) points in the unit square.
        random: chooses the shades.

    Returns:
        float32 (160, 160), background 0, foreground up to 255.
    """
    width = random.uniform(0.75, 1.1)
    points = [tuple(point) for point in (CANVAS_SIDE / 2 + SKELETON_SIDE * (outline - 0.5) * (width, 1)).tolist()]
    image = Image.new("L", (CANVAS_SIDE, CANVAS_SIDE))
    pen = ImageDraw.Draw(image)
    pen.polygon(points, fill=255)
    shade = random.uniform(0.4, 1) + random.choice([0, 0.3]) * slope(random)
    if random.random() < 0.4:
        shade = shade * (0.5 + cloud(random, int(random.integers(3, 9))))
    shades = Image.fromarray(to_uint8(np.clip(255 * shade, 40, 255))).resize((CANVAS_SIDE, CANVAS_SIDE))
    filled = ImageChops.multiply(image, shades)
    if random.random() < 0.3:
        rim = int(random.choice([0, 255, 255]))
        ImageDraw.Draw(filled).line([*points, points[0]], fill=rim, width=int(random.integers(3, 7)))
    return np.asarray(filled, np.float32)


def placed(canvas: Canvas, random: Random) -> Image28:
    """Reduce a canvas to 28x28: as the service does it, or at any place, in any size and on any background.

    Args:
        canvas: float32 (160, 160), 0 to 255.
        random: chooses how.

    Returns:
        uint8 (28, 28).
    """
    if not canvas.any():  # a shape so small that its black rim covers it
        return np.zeros((SIDE, SIDE), np.uint8)
    if random.random() < 0.5:
        return normalise(canvas)
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    box = canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = random.uniform(10, SIDE) / max(box.shape)
    height, width = (max(1, round(side * scale)) for side in box.shape)
    small = np.asarray(Image.fromarray(box).resize((width, height), Image.Resampling.BOX))
    y, x = random.integers(0, SIDE - height + 1), random.integers(0, SIDE - width + 1)
    image = np.zeros((SIDE, SIDE))
    image[y : y + height, x : x + width] = small * random.uniform(0.5, 1)
    if random.random() < 0.2:
        image = image + random.uniform(0, 100) + random.normal(0, 6, image.shape)
    return to_uint8(255 - image if random.random() < 0.15 else image)


def slope(random: Random) -> Floats:
    """A plane through the centre, float32 (28, 28), -1 to 1, that rises in a random direction."""
    along = np.linspace(-1, 1, SIDE, dtype=np.float32)
    plane = gradient(along, along, random)
    return np.asarray(plane / np.abs(plane).max(), np.float32)
