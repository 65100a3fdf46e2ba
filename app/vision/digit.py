"""An ink map to the 28x28 image that the network reads, made the way MNIST was made."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from app.errors import BlankImage
from app.vision.components import components
from app.vision.ink import FAINTEST, Grey

SIDE, BOX = 28, 20

BLANK = "the image is blank; send one with a digit on it"

# Grey levels under this share of the darkest ink are not the soft edge of a stroke but what JPEG leaves beside it.
FAINT_EDGE = 0.02

# The soft edge of a stroke is at most this wide, as a share of the picture's longer side, but 2 pixels at least.
EDGE_WIDTH = 0.015

# A part smaller than this share of the largest one is a speck; strokes that make a digit another digit, such as
# the bar of a 5 or 7, are larger.
SPECK = 0.02


def isolate(ink: Grey) -> Grey:
    """Keep the digit's ink and empty everything else.

    Strong ink (over Otsu's threshold) says what is part of the digit; the soft edges that hang together with
    it stay, so that grey levels come through. Raises BlankImage when there is no ink.
    """
    strong = otsu(ink)
    paper, stroke = ink[ink <= strong], ink[ink > strong]
    if not stroke.size or float(stroke.mean() - paper.mean()) < FAINTEST:
        raise BlankImage(BLANK)
    # Grain of the paper: median and spread (1.48 makes it a standard deviation where the grain is normal).
    grain = float(np.median(paper))
    spread = 1.48 * float(np.median(np.abs(paper - grain)))
    soft = min(grain + 4 * spread + FAINT_EDGE * float(ink.max()), strong)
    parts = components((ink > soft) & _near(ink > strong, max(2, round(EDGE_WIDTH * max(ink.shape)))))
    peaks = np.zeros(len(parts.area), np.float32)
    inside = parts.labels >= 0
    np.maximum.at(peaks, parts.labels[inside], ink[inside])
    kept = peaks > strong
    kept &= parts.area >= SPECK * parts.area[kept].max()
    return np.where(inside & kept[parts.labels], np.maximum(ink - grain, 0), 0)


def _near(mask: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """The mask and what is at most so many pixels away; a running mean costs the same for any distance."""
    spread = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(distance))
    near: NDArray[np.bool_] = (np.asarray(spread) > 0) | mask
    return near


def normalise(ink: Grey) -> NDArray[np.uint8]:
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


def _area_shares(count: int, side: int, offset: int) -> Grey:
    """(20, count) weights that average a row of ``side`` pixels down to 20, exactly by area.

    The row is empty but for ``count`` pixels from ``offset`` on. Pillow's box filter takes whole pixels whose
    centre lies in the window: between 20 and 60 pixels it skips some, and a thin stroke with them.
    """
    edges = np.linspace(0, side, BOX + 1)
    starts = np.arange(count) + offset
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    shares: Grey = (np.clip(overlap, 0, None) * (BOX / side)).astype(np.float32)
    return shares


def otsu(values: Grey) -> float:
    """The threshold that parts values (0 to 255) into the two classes of least inner variance (Otsu, 1979)."""
    counts = np.bincount(values.astype(np.uint8).ravel(), minlength=256).astype(np.float64)
    levels = np.arange(256)
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * levels)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    between = np.nan_to_num(between)
    best = np.flatnonzero(between == between.max())
    return float(best.mean())  # the middle of an empty stretch, where many thresholds part alike
