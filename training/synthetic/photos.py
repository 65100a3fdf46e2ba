"""Photos of digits: images of MNIST on synthetic paper, to measure where reading a picture fails.

Each scene takes a digit, uint8 (28, 28), and a random generator, and gives brightness (height, width) or colour
(height, width, 3), 0 to 255. None is learned from.
"""

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.data import Split
from training.image_folder import Answer
from training.markdown import table
from training.synthetic.pixels import SIDE, Floats, Image28, Random, gradient, to_uint8

# Digits of each scene, taken evenly from a split.
COUNT = 200


def clean(digit: Image28, random: Random) -> Floats:
    return _written(_paper(280, 280, random), _pen(digit, 160))


def small(digit: Image28, random: Random) -> Floats:
    """A digit of a fortieth to a twentieth of the photo's width."""
    paper = _paper(900, 1200, random, slope=30)
    return _written(paper, _pen(digit, int(random.integers(28, 50))), at=random.uniform(-0.2, 0.2, 2))


def soft_shadow(digit: Image28, random: Random) -> Floats:
    page = _written(_paper(600, 800, random, slope=30), _pen(digit, 250))
    edge = Image.fromarray((255 * (_plane(600, 800, random) > random.uniform(-0.3, 0.3))).astype(np.uint8))
    shade = np.asarray(edge.filter(ImageFilter.GaussianBlur(float(random.uniform(4, 40)))), np.float64) / 255
    return page * (1 - 0.45 * shade)


def sharp_shadow(digit: Image28, random: Random) -> Floats:
    page = _written(_paper(600, 800, random, slope=30), _pen(digit, 250))
    return page * np.where(np.arange(800) < random.integers(200, 600), 1, 0.45)


def shadow_of_a_hand(digit: Image28, random: Random) -> Floats:
    page = _written(_paper(600, 800, random, slope=30), _pen(digit, int(random.integers(100, 250))))
    for side in random.choice([0.05, 0.95], 2):
        middle = random.uniform(0, 600), 800 * (side + random.uniform(-0.12, 0.12))
        page = page * (1 - 0.45 * _disc(600, 800, middle, random.uniform(100, 300), random.uniform(20, 120)))
    return page


def ruled(digit: Image28, random: Random) -> Floats:
    paper = _lines(_paper(400, 400, random), random, step=(35, 70), width=(1, 3), level=(120, 190), tilt=(-3, 3))
    return _written(paper, _pen(digit, int(random.integers(100, 220))), at=random.uniform(-0.1, 0.1, 2))


def squared(digit: Image28, random: Random) -> Floats:
    paper = _paper(400, 400, random)
    step, level, tilt = int(random.integers(20, 50)), int(random.integers(120, 200)), random.uniform(-4, 4)
    for _ in range(2):
        paper = _lines(paper, random, (step, step), (1, 2), (level, level), (tilt, tilt)).T
        tilt = -tilt
    return _written(paper, _pen(digit, int(random.integers(60, 200))), at=random.uniform(-0.1, 0.1, 2))


def pencil(digit: Image28, random: Random) -> Floats:
    """A thin, grainy and grey stroke."""
    pen = Image.fromarray((255 * _pen(digit, 200)).astype(np.uint8))
    for _ in range(random.integers(4, 7)):
        pen = pen.filter(ImageFilter.MinFilter(3))
    thin = np.asarray(pen.filter(ImageFilter.GaussianBlur(0.6)), np.float64) / 255
    paper = _paper(420, 420, random, slope=20)
    return _written(paper, thin * random.uniform(0.5, 1, thin.shape), level=random.uniform(130, 180))


def marker(digit: Image28, random: Random) -> Floats:
    pen = Image.fromarray((255 * _pen(digit, 200)).astype(np.uint8)).filter(ImageFilter.MaxFilter(13))
    return _written(_paper(420, 420, random), np.asarray(pen, np.float64) / 255, level=30)


def board(digit: Image28, random: Random) -> Floats:
    """Chalk on a blackboard."""
    pen = _pen(digit, 200)
    return _written(_paper(400, 400, random, 60, 20, 8), pen * random.uniform(0.5, 1, pen.shape), level=210)


def sheet_on_a_table(digit: Image28, random: Random) -> Floats:
    table = random.normal(90, 12, (600, 600))
    top, left = random.integers(0, 240, 2)
    table[top : top + 360, left : left + 360] = _written(_paper(360, 360, random, slope=15), _pen(digit, 200))
    return table


def in_a_box(digit: Image28, random: Random) -> Floats:
    return _outlined(_written(_paper(300, 300, random), _pen(digit, 130)), "rectangle", int(random.integers(30, 60)))


def in_a_ring(digit: Image28, random: Random) -> Floats:
    return _outlined(_written(_paper(300, 300, random), _pen(digit, 110)), "ellipse", int(random.integers(30, 60)))


def at_the_edge(digit: Image28, random: Random) -> Floats:
    """A crop whose top, bottom and left side touch the digit."""
    pen = _pen(digit, 200)
    rows, columns = np.flatnonzero((pen > 0.5).any(axis=1)), np.flatnonzero((pen > 0.5).any(axis=0))
    pen = pen[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    pen = np.pad(pen, ((0, 0), (0, int(random.integers(0, 60)))))
    return _written(_paper(pen.shape[0], pen.shape[1], random), pen)


def beside_another(digit: Image28, random: Random) -> Floats:
    """A part of another digit is in the picture: the same digit, upside down."""
    page, pen = _written(_paper(260, 260, random), _pen(digit, 150)), _pen(digit[::-1, ::-1], 150)
    return _written(page, pen, at=np.array([0, random.choice([-1, 1]) * random.uniform(0.5, 0.65)]))


def dirty_border(digit: Image28, random: Random) -> Floats:
    page = _written(_paper(300, 300, random), _pen(digit, 170))
    side = (page, page[::-1], page.T, page.T[::-1])[random.integers(4)]
    side[: random.integers(3, 20)] = random.integers(0, 90)
    return page


def among_print(digit: Image28, random: Random) -> Floats:
    image = Image.fromarray(to_uint8(_paper(400, 400, random)))
    for y in (10, 30, 360, 380):
        ImageDraw.Draw(image).text((int(random.integers(0, 250)), y), "Received with thanks", fill=60)
    return _written(np.asarray(image, np.float64), _pen(digit, 200))


def shining_through(digit: Image28, random: Random) -> Floats:
    """The writing on the other side of the paper shows through."""
    paper = _written(_paper(400, 400, random), 0.22 * _pen(digit[:, ::-1], 220), at=random.uniform(-0.15, 0.15, 2))
    return _written(paper, _pen(digit, 200), level=40)


def stained(digit: Image28, random: Random) -> Floats:
    paper = _paper(400, 400, random)
    for _ in range(3):
        paper -= 60 * _disc(400, 400, tuple(random.uniform(0, 400, 2)), random.uniform(20, 70), 10)
    return _written(paper, _pen(digit, 230))


def folded(digit: Image28, random: Random) -> Floats:
    paper, place = _paper(400, 400, random), random.integers(100, 300)
    paper[:, place : place + 3] -= 70
    paper[:, place + 3 :] -= 15
    return _written(paper, _pen(digit, 220))


def grainy(digit: Image28, random: Random) -> Floats:
    return _written(_paper(500, 500, random, 150, 40, 25), _pen(digit, 260), level=40)


def askew(digit: Image28, random: Random) -> Floats:
    """Photographed from the side."""
    page = Image.fromarray(to_uint8(soft_shadow(digit, random)))
    width, height = page.size
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
    seen = corners + random.uniform(-0.12, 0.12, (4, 2)) * page.size
    rows = [
        row
        for (x, y), (u, v) in zip(corners, seen, strict=True)
        for row in ([x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y])
    ]
    projection = np.linalg.solve(np.array(rows), seen.ravel()).tolist()
    turned = page.transform(page.size, Image.Transform.PERSPECTIVE, projection, Image.Resampling.BICUBIC, fillcolor=128)
    return np.asarray(turned, np.float64)


def coloured(digit: Image28, random: Random) -> Floats:
    """Foreground that is hardly darker than its paper, or lighter."""
    colours = (
        ((90, 170, 90), (200, 60, 60)),
        ((240, 220, 90), (40, 60, 180)),
        ((245, 245, 245), (235, 215, 60)),
        ((240, 170, 190), (240, 120, 40)),
    )
    background, foreground = (np.array(colour) for colour in colours[random.integers(len(colours))])
    pen = np.pad(_pen(digit, 170), 30)[..., None]
    grain = random.normal(0, 4, (*pen.shape[:2], 1))
    return np.asarray((background + grain) * (1 - pen) + foreground * pen)


SCENES: dict[str, Callable[[Image28, Random], Floats]] = {
    scene.__name__.replace("_", " "): scene
    for scene in (
        clean, small, soft_shadow, sharp_shadow, shadow_of_a_hand, ruled, squared, pencil, marker, board,
        sheet_on_a_table, in_a_box, in_a_ring, at_the_edge, beside_another, dirty_border, among_print, shining_through,
        stained, folded, grainy, askew, coloured,
    )
}  # fmt: skip


def make(name: str, digits: Split) -> list[bytes]:
    """Put digits into a scene.

    Args:
        name: one of SCENES.
        digits: the same digits give the same photos.

    Returns:
        JPEG files.
    """
    random = np.random.default_rng(list(SCENES).index(name))
    return [_photo(SCENES[name](image, random)) for image in digits.images]


def some(split: Split, count: int = COUNT) -> Split:
    """Choose so many digits, evenly from a split."""
    step = max(1, len(split) // count)
    return Split(split.images[::step][:count], split.labels[::step][:count])


def report(digits: Split, answers: Mapping[str, Sequence[Answer]]) -> str:
    """A table of accuracy and coverage by scene.

    Args:
        digits: those in the photos.
        answers: to the photos of each scene.

    Returns:
        Markdown.
    """
    rows, accuracy, accepted = [], [], []
    for name, given in answers.items():
        accuracy.append(
            np.mean([answer.digit == label for answer, label in zip(given, digits.labels.tolist(), strict=True)])
        )
        accepted.append(np.mean([not answer.rejected for answer in given]))
        rows.append([name, f"{accuracy[-1]:.1%}", f"{accepted[-1]:.1%}"])
    rows.append(["**mean**", f"{np.mean(accuracy):.1%}", f"{np.mean(accepted):.1%}"])
    return table(["scene", "accuracy", "accepted"], rows)


def _paper(
    height: int, width: int, random: Random, level: float = 230, slope: float = 0, grain: float = 3
) -> NDArray[np.float64]:
    """Paper whose brightness rises by ``slope`` to one side, with grain of that standard deviation."""
    light = level + slope * _plane(height, width, random)
    return np.asarray(light + random.normal(0, grain, (height, width)))


def _plane(height: int, width: int, random: Random) -> Floats:
    """From about -1 to 1, in a random direction."""
    return gradient(np.linspace(-1, 1, height), np.linspace(-1, 1, width), random)


def _disc(height: int, width: int, middle: Sequence[float], radius: float, soft: float) -> Floats:
    """A disc: 1 inside, 0 outside, with an edge of width ``soft``."""
    y, x = np.ogrid[:height, :width]
    return np.clip((radius - np.hypot(y - middle[0], x - middle[1])) / soft + 0.5, 0, 1)


def _lines(
    paper: NDArray[np.float64],
    random: Random,
    step: tuple[int, int],
    width: tuple[int, int],
    level: tuple[int, int],
    tilt: tuple[float, float],
) -> NDArray[np.float64]:
    """Printed horizontal lines: distance and width in pixels, grey level, tilt in degrees, each as a range."""
    apart, wide, dark = (int(random.integers(low, high + 1)) for low, high in (step, width, level))
    slope = np.tan(np.deg2rad(random.uniform(*tilt)))
    y, x = np.ogrid[: paper.shape[0], : paper.shape[1]]
    return np.where((y + slope * x + random.integers(apart)) % apart < wide, np.minimum(paper, dark), paper)


def _outlined(page: Floats, shape: str, inset: int) -> Floats:
    image = Image.fromarray(to_uint8(page))
    height, width = page.shape
    draw = getattr(ImageDraw.Draw(image), shape)
    draw((inset, inset, width - inset, height - inset), outline=60, width=3)
    return np.asarray(image, np.float64)


def _pen(digit: Image28, height: int) -> Floats:
    """The foreground of a digit that is ``height`` pixels high: 0 to 1, with the edges of a pen."""
    side = max(SIDE, round(height * 28 / 20))
    image = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    smooth = np.asarray(image.filter(ImageFilter.GaussianBlur(side / 56)), np.float64) / 255
    return np.clip((smooth - 0.35) / 0.25, 0, 1)


def _written(
    paper: Floats, pen: Floats, level: float = 50, at: NDArray[np.float64] | tuple[float, float] = (0, 0)
) -> NDArray[np.float64]:
    """Write on the paper, ``at`` shares of its sides from its centre."""
    page = np.array(paper, np.float64)
    starts = [
        round((whole - part) / 2 + share * whole)
        for whole, part, share in zip(page.shape, pen.shape, np.asarray(at).tolist(), strict=True)
    ]
    on_page = tuple(slice(max(start, 0), max(start + part, 0)) for start, part in zip(starts, pen.shape, strict=True))
    seen = page[on_page]
    cut = tuple(
        slice(max(-start, 0), max(-start, 0) + length) for start, length in zip(starts, seen.shape, strict=True)
    )
    page[on_page] = seen * (1 - pen[cut]) + level * pen[cut]
    return page


def _photo(page: Floats) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(page)).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
