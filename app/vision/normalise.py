"""The digit's foreground to the 28x28 image that the network reads, in the way MNIST was made."""

import functools

import numpy as np
from PIL import Image

from app.vision.image_ops import SIDE, Float32Image, UInt8Image

# Pixels of each side of the box that a digit of MNIST fills.
BOX_SIDE = 20


def normalise(foreground: Float32Image) -> UInt8Image:
    """Size and place the foreground as in MNIST.

    The steps are those that the QMNIST paper (Yadav and Bottou, 2019) reconstructs: pad the short side of the tight
    bounding box to a square; resample it by area to 20x20; scale it so that the largest value is 255; paste it so
    that the centre of mass, measured at pixel centres, is in the middle.

    Args:
        foreground: float32 (height, width), 0 for the background, and at least one pixel above it.

    Returns:
        uint8 (28, 28), 0 to 255.
    """
    rows, columns = np.flatnonzero(foreground.any(axis=1)), np.flatnonzero(foreground.any(axis=0))
    box = foreground[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = box.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    if side >= BOX_SIDE:
        small = _area_weights(height, side, top) @ box @ _area_weights(width, side, left).T
    else:  # on the way up, averages of areas would only repeat pixels
        square = np.zeros((side, side), np.float32)
        square[top : top + height, left : left + width] = box
        larger = Image.fromarray(square).resize((BOX_SIDE, BOX_SIDE), Image.Resampling.BICUBIC)
        small = np.asarray(larger).clip(0, None)
    small = small * (255 / small.max())
    mass = small.sum()
    centres = np.arange(BOX_SIDE) + 0.5
    y = int(SIDE / 2 + 1 - float((small.sum(axis=1) @ centres) / mass))
    x = int(SIDE / 2 + 1 - float((small.sum(axis=0) @ centres) / mass))
    y, x = min(max(y, 0), SIDE - BOX_SIDE), min(max(x, 0), SIDE - BOX_SIDE)
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[y : y + BOX_SIDE, x : x + BOX_SIDE] = np.rint(small)
    return image


@functools.lru_cache(512)  # a few megabytes; small images come in few sizes, and this is half of the time for one
def _area_weights(count: int, side: int, offset: int) -> Float32Image:
    """Weights that average a row of ``side`` pixels down to 20, exactly by area.

    Pillow's box filter takes whole pixels whose centre lies in the window: between 20 and 60 pixels it skips some, and
    a thin stroke with them.

    Args:
        count: Pixels of the row that are not empty.
        side: Pixels of the row.
        offset: The first one that is not empty.

    Returns:
        float32 (20, count), read-only.
    """
    edges = np.linspace(0, side, BOX_SIDE + 1)
    starts = np.arange(count) + offset
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    weights: Float32Image = (np.clip(overlap, 0, None) * (BOX_SIDE / side)).astype(np.float32)
    weights.flags.writeable = False  # the cache hands out the same array again
    return weights
