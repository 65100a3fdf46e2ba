"""An ink map to the 28x28 image that the network reads, made the way MNIST was made."""

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import BlankImage
from app.vision.components import components
from app.vision.ink import FAINTEST, Float32Image, UInt8Image, counts, quantile, running_most
from app.vision.parts import SMALLEST, belonging, extent, has_company, without_frames, without_shadows
from app.vision.rules import without_rules

SIDE, BOX = 28, 20

# Ink this many standard deviations over the paper's grain is no grain.
SPREADS = 4

# Grey levels under this share of the darkest ink are not the soft edge of a stroke but what JPEG leaves beside it.
FAINT_EDGE = 0.02

# Ink that is on average less than this many standard deviations darker than its paper is grain: grain parted at its
# middle gives 2.7, as its lower half has the smaller deviation.
GRAINIEST = 4

# Otsu's level parts the paper's own grain where so little is inked that it does not count: a digit that is tiny in a
# photograph. Then the ink is what is over half of the darkest, if it is that many standard deviations darker than its
# paper.
CLEAREST = 12

# Ink from here on, as a share of the way from what is no grain to what is strong, is part of a stroke, however far
# from strong ink: pens fade.
FADED = 0.3

# The soft edge of a stroke is at most this wide, as a share of the picture's longer side, but 2 pixels at least.
EDGE_WIDTH = 0.015

# What is this many times weaker than the rest was not written with the same pen where there is this much of it beside
# the rest and levels between the two are rare; or far more of it, as of squares all over the page.
STAINED, STAINS, PARTED, FAR_MORE_STAINS = 3.2, 0.3, 0.91, 2


def isolate(ink: UInt8Image, grainiest: float = GRAINIEST) -> tuple[Float32Image, bool]:
    """Keep the digit's ink and empty everything else: float32 (height, width), 0 to 255. And whether there are several
    digits, of which this is one.

    Strong ink (over Otsu's threshold) says what can be part of the digit; what fades out of it stays, and the soft
    edges, so that grey levels come through. Raises BlankImage when there is no ink: none that is on average
    ``grainiest`` standard deviations of the paper darker than it.
    """
    occurrences = counts(ink)
    level = _level(occurrences, otsu(occurrences))
    tiny = not level.parts(grainiest)
    if tiny:  # or nothing at all
        level = _level(occurrences, (level.grain + int(ink.max())) // 2)
        if not level.parts(CLEAREST):
            raise BlankImage
    strong, grain, spread = level.strong, level.grain, level.spread
    soft = min(grain + max(SPREADS * spread, FAINT_EDGE * int(ink.max())), strong)
    stroked = ink > soft + FADED * (strong - soft)
    edged = running_most(stroked, _edge(ink))
    parts = components(without_rules(ink > soft, ink > strong) & edged)
    darkest = parts.most(ink)
    standing = without_shadows(parts, without_frames(parts, darkest > strong), darkest)
    belongs = belonging(parts, standing)
    if tiny and max(extent(parts, belongs)) < SMALLEST:
        raise BlankImage
    found = np.where(parts.mask(belongs), np.maximum(ink - np.float32(grain), 0), 0)
    clear = without_stains(found.astype(np.uint8))
    return isolate(clear) if clear is not None else (found, has_company(parts, belongs, standing & ~belongs))


@dataclass(frozen=True)
class _Level:
    """A level that may part ink from paper, and what it parts.

    grain, spread: of the paper, median and spread (1.48 makes it a standard deviation where the grain is normal).
    contrast: how much darker the ink is on average.
    """

    strong: int
    grain: int
    spread: float
    contrast: float

    def parts(self, grainiest: float) -> bool:
        """Whether there is ink over it: darker than its paper by more than that many of its standard deviations."""
        return self.contrast >= max(FAINTEST, grainiest * self.spread)


def _level(occurrences: NDArray[np.int64], strong: int) -> _Level:
    paper, stroke = occurrences[: strong + 1], occurrences[strong + 1 :]
    grain = quantile(paper, 0.5)
    spread = 1.48 * quantile(np.bincount(np.abs(np.arange(strong + 1) - grain), paper), 0.5)
    contrast = strong + 1 + _mean(stroke) - _mean(paper) if stroke.any() else 0.0
    return _Level(strong, grain, spread, contrast)


def without_stains(ink: UInt8Image) -> UInt8Image | None:
    """The ink without what is far weaker than the rest and no soft edge of it: stains, what shines through, squares
    that hang together with the digit. None where there is little of that, or it may be a pen that runs dry.
    """
    occurrences = counts(ink)
    occurrences[0] = 0
    level = otsu(occurrences)
    weak, strong = occurrences[: level + 1], occurrences[level + 1 :]
    if not (weak.any() and strong.any()) or level + 1 + _mean(strong) < STAINED * _mean(weak):
        return None
    edged = running_most(ink > level, _edge(ink))
    stained = np.count_nonzero(ink) - np.count_nonzero(edged & (ink > 0))
    most = STAINS if _parted(occurrences, level) >= PARTED else FAR_MORE_STAINS
    return np.where(edged, ink, np.uint8(0)) if stained >= most * strong.sum() else None


def _parted(occurrences: NDArray[np.int64], level: int) -> float:
    """Which share of the variance a level takes away that parts values in two (Otsu's own measure): 0.75 where they
    are spread evenly.
    """
    levels = np.arange(256)
    total = occurrences.sum()
    mean = occurrences @ levels / total
    within = 0.0
    for part, start in ((occurrences[: level + 1], 0), (occurrences[level + 1 :], level + 1)):
        places = np.arange(start, start + len(part))
        within += part @ (places - part @ places / part.sum()) ** 2
    return float(1 - within / (occurrences @ (levels - mean) ** 2))


def _edge(ink: UInt8Image) -> int:
    """A window that takes in the soft edges of strokes."""
    return 2 * max(2, round(EDGE_WIDTH * int(max(ink.shape)))) + 1


def _mean(occurrences: NDArray[np.int64]) -> float:
    return float(occurrences @ np.arange(len(occurrences))) / max(int(occurrences.sum()), 1)


def normalise(ink: Float32Image) -> NDArray[np.uint8]:
    """Box, size and place the ink as in MNIST: uint8 (28, 28).

    The steps are those that the QMNIST paper (Yadav and Bottou, 2019) reconstructed: pad the short side of
    the tight box to a square; area-resample to 20x20; scale so that the darkest ink is 255; paste so that
    the centre of mass, measured at pixel centres, lies in the middle.
    """
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = box.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    if side >= BOX:
        small = _area_shares(height, side, top) @ box @ _area_shares(width, side, left).T
    else:  # on the way up, averages of areas would only repeat pixels
        square = np.zeros((side, side), np.float32)
        square[top : top + height, left : left + width] = box
        small = np.asarray(Image.fromarray(square).resize((BOX, BOX), Image.Resampling.BICUBIC)).clip(0, None)
    small = small * (255 / small.max())
    mass = small.sum()
    centres = np.arange(BOX) + 0.5
    y = int(SIDE / 2 + 1 - float((small.sum(axis=1) @ centres) / mass))
    x = int(SIDE / 2 + 1 - float((small.sum(axis=0) @ centres) / mass))
    y, x = min(max(y, 0), SIDE - BOX), min(max(x, 0), SIDE - BOX)
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[y : y + BOX, x : x + BOX] = np.rint(small)
    return image


@functools.lru_cache(512)  # a few megabytes; small pictures come in few sizes, and this is half of their normalising
def _area_shares(count: int, side: int, offset: int) -> Float32Image:
    """(20, count) weights that average a row of ``side`` pixels down to 20, exactly by area.

    The row is empty but for ``count`` pixels from ``offset`` on. Pillow's box filter takes whole pixels whose
    centre lies in the window: between 20 and 60 pixels it skips some, and a thin stroke with them.
    """
    edges = np.linspace(0, side, BOX + 1)
    starts = np.arange(count) + offset
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    shares: Float32Image = (np.clip(overlap, 0, None) * (BOX / side)).astype(np.float32)
    shares.flags.writeable = False  # many hold it
    return shares


def otsu(occurrences: NDArray[np.int64]) -> int:
    """The level that parts values into the two classes of least inner variance: not above it, above it (Otsu, 1979).

    occurrences: (256,), how often each level occurs.
    """
    below = np.cumsum(occurrences, dtype=np.float64)
    sums = np.cumsum(occurrences * _LEVELS, dtype=np.float64)
    parted = below * (below[-1] - below)
    between = np.divide((sums * below[-1] - sums[-1] * below) ** 2, parted, out=np.zeros_like(parted), where=parted > 0)
    best = np.flatnonzero(between == between.max())
    return int(best.mean())  # the middle of an empty stretch, where many thresholds part alike


_LEVELS = np.arange(256)
