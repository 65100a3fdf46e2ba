"""Standard operations on grey images, and the types of arrays that the pipeline passes on.

numpy and Pillow are enough for them. OpenCV's are faster, which would save about 0.2 ms of the 1 to 3 ms that a picture
takes, but it adds 150 MB to the installation, half of what is there, and 17 MB to every process. SciPy adds as much,
and is slower than ours on all but the smallest images.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Float32Image = NDArray[np.float32]
UInt8Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Histogram = NDArray[np.int64]

# Rows and columns of a part of an image.
Region = tuple[slice, slice]

# Pixels of each side of the image that the network reads.
SIDE = 28

Scalar = TypeVar("Scalar", bound=np.generic)

_LEVELS = np.arange(256)


def pixels_of(picture: Image.Image) -> UInt8Image:
    """The values of an L or RGB picture.

    ``numpy.asarray`` takes five times as long, which counts for 28x28.

    Returns:
        uint8 (height, width), or (height, width, 3). Read-only.
    """
    channels = (3,) if picture.mode == "RGB" else ()
    return np.frombuffer(picture.tobytes(), np.uint8).reshape(picture.height, picture.width, *channels)


def resize(image: UInt8Image, height: int, width: int, resampling: Image.Resampling) -> UInt8Image:
    """The image on another scale: uint8 (height, width), read-only."""
    return pixels_of(Image.fromarray(image).resize((width, height), resampling))


def gaussian_blur(image: UInt8Image, radius: float) -> UInt8Image:
    """The image blurred by a Gaussian whose standard deviation is ``radius`` pixels: uint8, read-only."""
    return pixels_of(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def maximum_filter(image: NDArray[Scalar], window: int) -> NDArray[Scalar]:
    """The largest value in a square window around each pixel; outside the image, its edge goes on.

    Args:
        image: (height, width), of any type.
        window: Pixels of the window's side, an odd number.

    Returns:
        An array of the same shape and type.
    """
    for _ in range(2):  # along one axis, then along the other
        margin = window // 2
        padded = np.concatenate([image[:, :1].repeat(margin, 1), image, image[:, -1:].repeat(margin, 1)], 1)
        covered = 1
        while covered < window:  # windows of 2, 4, 8 … from halves, the last with some overlap
            step = min(covered, window - covered)
            padded = np.maximum(padded[:, step:], padded[:, :-step])
            covered += step
        image = padded.T
    return image


def histogram(values: UInt8Image) -> Histogram:
    """How often each level occurs: int64 (256,)."""
    return np.bincount(values.ravel(), minlength=256)


def mean_level(occurrences: Histogram) -> float:
    """The mean of the values of a histogram or of its first levels; 0 where there are none."""
    return float(occurrences @ _LEVELS[: len(occurrences)]) / max(int(occurrences.sum()), 1)


def quantile(occurrences: Histogram, share: float) -> int:
    """The least level that at least this share of all values does not exceed."""
    total = np.cumsum(occurrences)
    return int(np.searchsorted(total, share * total[-1]))


def otsu_threshold(occurrences: Histogram) -> int:
    """The level that divides values into the two classes with the least variance within them (Otsu, 1979).

    Args:
        occurrences: int64 (256,), how often each level occurs.

    Returns:
        The highest level of the lower class. Where a whole range of levels divides alike, its middle.
    """
    below = np.cumsum(occurrences, dtype=np.float64)
    sums = np.cumsum(occurrences * _LEVELS, dtype=np.float64)
    parted = below * (below[-1] - below)
    between = np.divide((sums * below[-1] - sums[-1] * below) ** 2, parted, out=np.zeros_like(parted), where=parted > 0)
    best = np.flatnonzero(between == between.max())
    return int(best.mean())


def runs(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The horizontal runs of a mask.

    Args:
        mask: bool (height, width).

    Returns:
        Their starts and ends (one past the last pixel), int64 (n,) each: places in the mask laid out row by row with
        an empty column on either side, (height, width + 2), so that no run reaches into the next row.
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 2), bool)
    padded[:, 1:-1] = mask
    line = padded.ravel()
    edges = np.flatnonzero(line[1:] != line[:-1]) + 1
    return edges[::2], edges[1::2]


def without_runs(mask: Mask, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Mask:
    """The mask without some of its ``runs``."""
    height, width = mask.shape
    change = np.zeros(height * (width + 2) + 1, np.int8)
    change[starts], change[ends] = 1, -1
    removed = np.cumsum(change[:-1], dtype=np.int8).reshape(height, width + 2)[:, 1:-1]
    kept: Mask = mask & (removed == 0)
    return kept
