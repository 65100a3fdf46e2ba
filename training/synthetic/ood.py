"""Pictures that show no digit, or more than one, to learn from: uncertain answers are the right ones there."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from training.synthetic import printed, render, shapes
from training.synthetic.pixels import SIDE, Floats, Image28, Random, cloud, to_uint8

# The share of letters that are printed, not handwritten.
PRINTED_SHARE = 0.35

# Letters that stay letters in the thickest pen. In others a thick pen fills loops, and makes a 0 of an @.
OPEN_LETTERS = frozenset("EFLTUVX")


def make(count: int, digits: Image28, seed: int | list[int]) -> Image28:
    """Make pictures without a single digit, shuffled.

    Args:
        count: how many.
        digits: uint8 (n, 28, 28), at least one image of a digit, to cut up and to put together.
        seed: of the random generator; the same seed gives the same pictures.

    Returns:
        uint8 (count, 28, 28).
    """
    random = np.random.default_rng(seed)
    makers = [maker for maker, percent in KINDS.items() for _ in range(percent)]
    # Shuffled twice, so that a few pictures are of any kind and many pictures do not repeat one order.
    order = random.permutation(np.resize(random.permutation(len(makers)), count))
    images = np.zeros((count, SIDE, SIDE), np.uint8)
    for index, which in enumerate(order):
        images[index] = makers[which](random, digits)
    return images


# The kinds of pictures. Each takes the random generator and digits to cut up.


def _blank(random: Random, _: Image28) -> Image28:
    """An empty page: even grey, a gradient, a little grain, a speck."""
    level = random.choice([0.0, 255.0, random.uniform(0, 255)])
    image = np.full((SIDE, SIDE), level)
    if random.random() < 0.4:
        image = image + random.uniform(10, 120) * render.slope(random)
    if random.random() < 0.5:
        image = image + random.normal(0, random.uniform(1, 12), image.shape)
    if random.random() < 0.25:
        y, x = random.integers(0, SIDE - 2, 2)
        image[y : y + random.integers(1, 3), x : x + random.integers(1, 3)] = random.uniform(0, 255)
    return to_uint8(image)


def _noise(random: Random, digits: Image28) -> Image28:
    """Independent pixels or blocks of pixels, over the whole frame or in a part of it."""
    if random.random() < 0.4:
        block = int(random.integers(2, 6))
        coarse = _noise(random, digits)[: -(-SIDE // block), : -(-SIDE // block)]
        image = np.kron(coarse, np.ones((block, block), np.uint8))[:SIDE, :SIDE]
        return image if random.random() < 0.5 else 255 - image
    if random.random() < 0.4:
        height, width = random.integers(6, 21, 2)
        y, x = random.integers(0, SIDE - height), random.integers(0, SIDE - width)
        image = np.zeros((SIDE, SIDE), np.uint8)
        image[y : y + height, x : x + width] = _noise(random, digits)[:height, :width]
        return render.normalise(image.astype(np.float32)) if image.any() and random.random() < 0.7 else image
    way = random.integers(4)
    if way == 0:
        return to_uint8(random.uniform(0, 255, (SIDE, SIDE)) * random.uniform(0.3, 1))
    if way == 1:
        return to_uint8(random.normal(random.uniform(0, 255), random.uniform(20, 80), (SIDE, SIDE)))
    if way == 2:
        return to_uint8(255 * cloud(random, int(random.integers(6, 20))))
    background, share = random.choice([0, 255]), random.uniform(0.02, 0.5)
    image = np.full((SIDE, SIDE), background, np.uint8)
    spots = random.random(image.shape) < share
    image[spots] = (
        random.choice([255 - background, 128]) if random.random() < 0.5 else random.integers(0, 256, spots.sum())
    )
    return image


def _texture(random: Random, _: Image28) -> Image28:
    """Stripes, checks, grids, dots or hatching at any angle; rings around any point; clouds."""
    angle, period = random.uniform(0, np.pi), random.uniform(2.5, 9)
    y, x = np.mgrid[:SIDE, :SIDE] + random.uniform(0, 9, (2, 1, 1))
    if random.random() < 0.3:
        angle = 0
    u = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    v = np.sin((y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / period)
    hard = random.uniform(1, 6)
    middle = random.uniform(-4, SIDE + 13, 2)
    rings = np.sin(np.hypot(x - middle[0], y - middle[1]) * 2 * np.pi / period)
    forms = (u, u * v * 2, np.maximum(u, v) - 0.4, (u + v) - 0.8, np.abs(u) - np.abs(v), rings)
    way = random.integers(len(forms) + 1)
    if way == len(forms):
        return to_uint8(255 * cloud(random, int(random.integers(3, 7))))
    low, high = np.sort(random.uniform(0, 255, 2)) + np.array([-20, 40])
    return to_uint8(low + (high - low) * (0.5 + 0.5 * np.clip(hard * forms[way], -1, 1)))


def _letter(random: Random, _: Image28) -> Image28:
    """A letter or sign, handwritten or printed."""
    if random.random() < PRINTED_SHARE:
        return render.placed(np.asarray(printed.random_letter(random, render.CANVAS_SIDE), np.float32), random)
    letters = shapes.load().letters
    names = list(letters)
    name, hand = names[random.integers(len(names))], render.random_hand(random)
    if name not in OPEN_LETTERS:
        hand = replace(hand, width=min(hand.width, 0.13))
    return render.placed(render.handwriting(letters[name], hand, random), random)


def _figure(random: Random, _: Image28) -> Image28:
    """A figure in outline, a disc or a blob."""
    if random.random() < 0.75:
        form = np.diag([random.uniform(1, 1.3), 1]) + random.normal(0, 0.08, (2, 2))  # a narrow box would be a 0
        hand = replace(render.random_hand(random), form=form)
        return render.placed(render.handwriting(_one(shapes.load().outlines, random), hand, random), random)
    corners = int(random.choice([*range(3, 12), 24, 24]))
    angles = (np.arange(corners) + random.uniform(0, 0.8, corners)) * (2 * np.pi / corners)
    reach = random.uniform(0.25, 0.5, corners) if random.random() < 0.7 else np.full(corners, 0.45)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None] * random.uniform(0.7, 1, 2)
    outline = render.spline(np.concatenate([ring, ring[:1]]), True) if random.random() < 0.6 else ring
    return render.placed(render.filled(outline + 0.5, random), random)


def _scribble(random: Random, _: Image28) -> Image28:
    """A tangle, a spiral, a zigzag or crossing lines, always with more turns than a digit has."""
    way, hand = random.integers(4), render.random_hand(random)
    hand = replace(hand, width=min(hand.width, 0.09))  # a thicker pen would leave a blot
    paths: list[Floats]
    if way == 0:
        paths = [render.spline(random.uniform(0, 1, (random.integers(10, 18), 2)), False)]
    elif way == 1:
        t = np.linspace(0.08, 1, 70)[:, None]
        angle = random.choice([-1, 1]) * t * random.uniform(3, 5) * 2 * np.pi + random.uniform(0, 6.3)
        paths = [0.5 + 0.5 * t * np.concatenate([np.cos(angle), np.sin(angle)], 1)]
    elif way == 2:
        count = random.integers(7, 12)
        along, across = np.linspace(0, 1, count), np.arange(count) % 2 + random.normal(0, 0.1, count)
        zigzag = np.stack([along, across * random.uniform(0.4, 1)], 1)[:, :: random.choice([-1, 1])]
        paths = [render.spline(zigzag, False) if random.random() < 0.4 else zigzag]
    else:
        paths = [random.uniform(0, 1, (2, 2)) for _ in range(random.integers(5, 10))]
    image = Image.new("L", (render.CANVAS_SIDE, render.CANVAS_SIDE))
    pen = ImageDraw.Draw(image)
    for path in paths:
        render.draw_stroke(pen, render.CANVAS_SIDE / 2 + render.SKELETON_SIDE * (path - 0.5), hand, random)
    return render.placed(np.asarray(image, np.float32), random)


def _garment(random: Random, _: Image28) -> Image28:
    return _silhouette(_one(shapes.load().clothes, random), random)


def _icon(random: Random, _: Image28) -> Image28:
    return _silhouette(_one(shapes.load().things, random), random)


def _tool(random: Random, _: Image28) -> Image28:
    turn = random.uniform(0, 2 * np.pi)
    cos, sin = np.cos(turn), np.sin(turn)
    knots = render.knots_of(_one(shapes.load().tools, random)) - 0.5
    canvas = render.filled(0.5 + knots @ np.array([[cos, sin], [-sin, cos]]), random)
    return render.normalise(canvas) if canvas.any() else np.zeros((SIDE, SIDE), np.uint8)


def _one(shapes: Sequence[str], random: Random) -> str:
    return shapes[int(random.integers(len(shapes)))]


def _silhouette(outline: str, random: Random) -> Image28:
    knots = render.knots_of(outline)
    return render.placed(render.filled(knots + random.normal(0, 0.015, knots.shape), random), random)


def _chart(random: Random, _: Image28) -> Image28:
    """Axes, with bars or with a curve."""
    image = Image.new("L", (render.CANVAS_SIDE, render.CANVAS_SIDE))
    pen = ImageDraw.Draw(image)
    count, width = int(random.integers(4, 8)), int(random.integers(3, 9))
    left, low, high = 36, 124, 36
    heights = random.uniform(0.1, 1, count) * (low - high)
    step = (low - left) / count
    if random.random() < 0.5:
        for n, height in enumerate(heights.tolist()):
            x = left + n * step
            pen.rectangle((x + 3, low - height, x + step - 3, low), fill=int(random.integers(120, 256)))
    else:
        pen.line([(left + (n + 0.5) * step, low - height) for n, height in enumerate(heights.tolist())], 255, width)
    pen.line([(left, high), (left, low), (low, low)], 255, width)
    return render.placed(np.asarray(image, np.float32), random)


def _photo(random: Random, _: Image28) -> Image28:
    """A piece of a photograph: surfaces in shaded grey that meet at edges, over the whole frame."""
    image = cloud(random, int(random.integers(2, 6))) + random.uniform(0, 1) * render.slope(random)
    for _n in range(random.integers(1, 4)):
        inside = render.slope(random) > random.uniform(-0.6, 0.6)
        if random.random() < 0.5:
            inside = cloud(random, int(random.integers(2, 5))) > random.uniform(0.3, 0.7)
        image = np.where(inside, random.uniform(0.3, 1) * image + random.uniform(-0.5, 0.7), image)
    image = image + random.normal(0, random.uniform(0, 0.08), image.shape)
    low, high = np.sort(random.uniform(0, 255, 2)) + np.array([-30, 50])
    return to_uint8(low + (high - low) * (image - image.min()) / max(float(np.ptp(image)), 0.1))


def _cut(random: Random, digits: Image28) -> Image28:
    """Pieces of digits: a corner, halves that have changed sides, or shuffled quarters.

    Never half a digit alone, which can be a digit: the upper half of a 9 is a 0, the right half of an 8 a 3.
    """
    one, two = _unlike(random, digits)
    way, half = random.integers(4), SIDE // 2
    image = np.zeros_like(one)
    if way == 0:  # a quarter of a digit, in a corner of the frame
        y, x = random.integers(10, 15, 2)
        image[y:, x:] = one[: SIDE - y, : SIDE - x]
        image = image[:: random.choice([-1, 1]), :: random.choice([-1, 1])]
        if image.any() and _proportion(image) > 0.45:  # a narrow piece would be a 1
            return image
        image = np.zeros_like(one)
    if way <= 1:
        image[:, :half], image[:, half:] = two[:, half:], one[:, :half]
    elif way == 2:
        image[:half], image[half:] = two[half:], np.roll(one[:half], int(random.choice([-6, -5, 5, 6])), 1)
    else:
        quarters = [part for row in np.split(one, 2) for part in np.split(row, 2, 1)]
        a, b, c, d = (quarters[n] for n in ((3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1), (3, 0, 2, 1))[random.integers(4)])
        image = np.block([[a, b], [c, d]])
    return render.normalise(image.astype(np.float32)) if image.any() and random.random() < 0.5 else image


def _several(random: Random, digits: Image28) -> Image28:
    """Two or more digits: side by side, one above the other, overlapping or averaged."""
    one, two = _unlike(random, digits)
    way = random.integers(5)
    if way <= 1:
        row = [one, two, digits[random.integers(len(digits))]][: random.integers(2, 4)]
        joined = np.concatenate([_trimmed(image) for image in row], axis=1)
    elif way == 2:
        joined = np.concatenate([_trimmed(image.T).T for image in (one, two)], axis=0)
    elif way == 3:
        shift = int(random.integers(7, 12))
        joined = np.zeros((SIDE, SIDE + shift), np.uint8)
        joined[:, :SIDE] = one
        joined[:, shift:] = np.maximum(joined[:, shift:], two)
    else:
        some = digits[random.integers(len(digits), size=random.integers(3, 7))]
        # Shifted, as the mean of centred digits is a blurred 8.
        joined = to_uint8(np.mean([np.roll(image, random.integers(-5, 6, 2), (0, 1)) for image in some], axis=0))
    if not joined.any():
        return np.zeros((SIDE, SIDE), np.uint8)
    if way <= 3 and random.random() < 0.5:
        return np.asarray(Image.fromarray(joined).resize((SIDE, SIDE), Image.Resampling.BOX))
    return render.normalise(joined.astype(np.float32))


# Percent of the pictures.
KINDS: dict[Callable[[Random, Image28], Image28], int] = {
    _blank: 3,
    _noise: 7,
    _texture: 7,
    _letter: 32,
    _figure: 9,
    _scribble: 8,
    _garment: 4,
    _icon: 3,
    _tool: 5,
    _chart: 3,
    _photo: 5,
    _cut: 7,
    _several: 7,
}


def _unlike(random: Random, digits: Image28) -> tuple[Image28, Image28]:
    """Choose two digits that overlap little: two alike, put together, would be the same digit again."""
    one = digits[random.integers(len(digits))]
    candidates = digits[random.integers(len(digits), size=6)]
    shared = [np.minimum(one, other).sum() / (1 + min(int(one.sum()), int(other.sum()))) for other in candidates]
    return one, candidates[int(np.argmin(shared))]


def _trimmed(image: Image28) -> Image28:
    """Remove the empty columns at the sides, all but one each."""
    columns = np.flatnonzero(image.any(axis=0))
    return image[:, max(columns[0] - 1, 0) : columns[-1] + 2] if len(columns) else image


def _proportion(image: Image28) -> float:
    """Width over height of the foreground's box; 0 for an empty image."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    return (columns[-1] - columns[0] + 1) / (rows[-1] - rows[0] + 1) if len(rows) else 0
