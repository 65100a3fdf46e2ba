"""The printed lines of ruled and squared paper, and of forms."""

import numpy as np
from numpy.typing import NDArray

from app.vision.components import runs

# A line is at most this thick, as a share of the picture's longer side, but 2 pixels at least.
THICKEST = 0.025

# It can be followed over this share of the picture's height, the rest being crossed by ink or too faint …
FOLLOWED = 0.5

# … and it leaves the picture: its ends are within this share of the height from the top and the bottom.
ENDS = 0.02

# It leans by at most this, sideways for each step downwards to either side.
TILT = 0.04

# Lines are taken away only where this share of the strong ink stays: else they are the digit, such as an upright 1.
STAYS = 0.1


def without_rules(mask: NDArray[np.bool_], strong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without thin straight lines that run from side to side, upright or level. strong: part of the mask."""
    cleaned = without_uprights(without_uprights(mask).T).T
    stays = np.count_nonzero(cleaned & strong) >= STAYS * np.count_nonzero(strong)
    return cleaned if stays else mask


def without_uprights(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask without thin lines that run from its top to its bottom.

    A Hough transform over the middles of thin horizontal runs. Where a stroke crosses a line, the run is longer
    than the line is thick, and stays.
    """
    height, width = mask.shape
    starts, ends = runs(mask)
    thin = ends - starts <= max(2, THICKEST * max(height, width))
    starts, ends = starts[thin], ends[thin]
    rows = starts // (width + 2)
    middles = (starts + ends) // 2 - rows * (width + 2)
    if not _crowded(middles, height):
        return mask

    most = max(1, round(TILT * height))
    tilts = np.arange(-most, most + 1)  # columns from the middle of the line to its end
    wide = width + 2 * most + 4
    shifts = np.rint(tilts[:, None] * (2 * rows / height - 1)).astype(np.int64)
    # Where each run would have the middle of its line, for each tilt; the tilts lie side by side.
    places = middles + shifts + most + 1 + np.arange(len(tilts))[:, None] * wide

    def votes(voters: NDArray[np.bool_]) -> NDArray[np.int64]:
        return _with_neighbours(np.bincount(places[:, voters].ravel(), minlength=len(tilts) * wide))

    end = max(1, round(ENDS * height))
    lines = (votes(rows >= 0) >= FOLLOWED * height) & (votes(rows < end) > 0) & (votes(rows >= height - end) > 0)
    found = (_with_neighbours(lines.astype(np.int64)) > 0)[places].any(axis=0)
    line = np.zeros(height * (width + 2) + 1, np.int8)
    line[starts[found]], line[ends[found]] = 1, -1
    removed = np.cumsum(line[:-1], dtype=np.int8).reshape(height, width + 2)[:, 1:-1]
    kept: NDArray[np.bool_] = mask & (removed == 0)
    return kept


def _crowded(middles: NDArray[np.int64], height: int) -> bool:
    """Whether some strip of 8 columns has enough runs for a line: a quick answer for most pictures, which have none.

    A line of the greatest tilt in a picture of 200 rows passes through two or three of them.
    """
    return len(middles) > 0 and int(np.bincount(middles // 8).max()) >= FOLLOWED * height / 3


def _with_neighbours(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each value with those beside it: lines wobble by a pixel."""
    result = values.copy()
    result[1:] += values[:-1]
    result[:-1] += values[1:]
    return result
