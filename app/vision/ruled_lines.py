"""The printed lines of ruled and squared paper, and of forms."""

import numpy as np
from numpy.typing import NDArray

from app.vision.image_ops import Mask, runs, without_runs

# The greatest thickness of a line, as a share of the image's longer side, and in pixels at least.
MAX_THICKNESS, MIN_MAX_THICKNESS_PIXELS = 0.025, 2

# The share of the image's height over which a line can be seen; the rest is crossed by strokes or too faint.
MIN_VISIBLE = 0.5

# A line leaves the image: it is seen within this share of the height from the top, and from the bottom.
END_ZONE = 0.02

# The greatest slope of a line: pixels sideways for each pixel downwards.
MAX_SLOPE = 0.04

# Lines are removed only where this share of the strong foreground stays; otherwise they are the digit, such as a 1.
MIN_STRONG_LEFT = 0.1

# Columns of the strips that are counted first.
STRIP_WIDTH = 8


def remove_ruled_lines(mask: Mask, strong: Mask) -> Mask:
    """Remove thin straight lines that run across the whole image, upright or level.

    Args:
        mask: bool (height, width), the foreground.
        strong: bool (height, width), the part of it that is certain.

    Returns:
        bool (height, width): the mask without them; the mask itself where next to nothing strong would be left.
    """
    cleaned = _remove_upright_lines(_remove_upright_lines(mask).T).T
    enough_left = np.count_nonzero(cleaned & strong) >= MIN_STRONG_LEFT * np.count_nonzero(strong)
    return cleaned if enough_left else mask


def _remove_upright_lines(mask: Mask) -> Mask:
    """Remove thin lines that run from top to bottom, found by a Hough transform over the middles of thin runs.

    Where a stroke crosses a line, the run is longer than the line is thick, and stays.
    """
    height, width = mask.shape
    starts, ends = runs(mask)
    thin = ends - starts <= max(MIN_MAX_THICKNESS_PIXELS, MAX_THICKNESS * max(height, width))
    starts, ends = starts[thin], ends[thin]
    rows = starts // (width + 2)
    middles = (starts + ends) // 2 - rows * (width + 2)
    if not _may_have_line(middles, height):
        return mask

    max_offset = max(1, round(MAX_SLOPE * height))
    offsets = np.arange(-max_offset, max_offset + 1)  # columns from the middle of a line to its end, one for each slope
    cells = width + 2 * max_offset + 4  # of the accumulator, for each slope
    shifts = np.rint(offsets[:, None] * (2 * rows / height - 1)).astype(np.int64)
    # (slopes, runs): the accumulator's cell of the line through this run, by the column of the line's middle.
    lines = middles + shifts + max_offset + 1 + np.arange(len(offsets))[:, None] * cells

    def votes(voters: Mask) -> NDArray[np.int64]:
        return _add_neighbours(np.bincount(lines[:, voters].ravel(), minlength=len(offsets) * cells))

    zone = max(1, round(END_ZONE * height))
    is_line = votes(rows >= 0) >= MIN_VISIBLE * height
    is_line &= (votes(rows < zone) > 0) & (votes(rows >= height - zone) > 0)
    on_line = (_add_neighbours(is_line.astype(np.int64)) > 0)[lines].any(axis=0)
    return without_runs(mask, starts[on_line], ends[on_line])


def _may_have_line(middles: NDArray[np.int64], height: int) -> bool:
    """Whether some strip of columns has enough runs for a line: a quick answer for most images, which have none.

    A line of the greatest slope in an image of 200 rows passes through two or three strips.
    """
    return len(middles) > 0 and int(np.bincount(middles // STRIP_WIDTH).max()) >= MIN_VISIBLE * height / 3


def _add_neighbours(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each value with the two beside it: lines wobble by a pixel."""
    result = values.copy()
    result[1:] += values[:-1]
    result[:-1] += values[1:]
    return result
