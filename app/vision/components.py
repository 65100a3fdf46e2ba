"""Connected parts of a mask, in numpy alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Components:
    """The 8-connected parts of a mask; every array has one entry a part.

    labels: int32 (height, width), -1 outside. area: pixels. top, left: first row and column.
    bottom, right: one past the last.
    """

    labels: NDArray[np.int32]
    area: NDArray[np.int64]
    top: NDArray[np.int64]
    bottom: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]


def components(mask: NDArray[np.bool_]) -> Components:
    """Find the parts by joining horizontal runs that touch from row to row.

    The work is in the runs, not the pixels: a digit of half a megapixel has a few hundred.
    """
    height, width = mask.shape
    wide = width + 2  # an empty column on either side, so that no run reaches into the next row
    flat = np.zeros((height, wide), np.int8)
    flat[:, 1:-1] = mask
    edges = np.diff(flat.ravel(), prepend=0)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)

    # A run touches those of the next row that begin at or before its end and end at or after its start.
    first = np.searchsorted(ends, starts + wide, side="left")
    past = np.searchsorted(starts, ends + wide, side="right")
    counts = np.maximum(past - first, 0)
    above = np.repeat(np.arange(len(starts)), counts)
    below = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)

    root = _roots(len(starts), above, below)
    _, part = np.unique(root, return_inverse=True)
    count = int(part.max()) + 1 if len(part) else 0
    rows, left, right = starts // wide, starts % wide - 1, ends % wide - 1
    labels = np.full(height * wide, -1, np.int32)
    labels[flat.ravel() == 1] = np.repeat(part, ends - starts)
    return Components(
        labels.reshape(height, wide)[:, 1:-1],
        np.bincount(part, ends - starts, count).astype(np.int64),
        _extreme(np.minimum, part, rows, count, height),
        _extreme(np.maximum, part, rows + 1, count, 0),
        _extreme(np.minimum, part, left, count, width),
        _extreme(np.maximum, part, right, count, 0),
    )


def _roots(count: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The smallest node that each of ``count`` nodes is joined to, directly or not."""
    root = np.arange(count)
    while True:
        a, b = root[one], root[other]
        if (a == b).all():
            return root
        # Hang the larger root below the smaller one, then let every node point at the root of its root.
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(root, root[root]):
            root = root[root]


def _extreme(
    choose: np.ufunc, part: NDArray[np.int64], values: NDArray[np.int64], count: int, start: int
) -> NDArray[np.int64]:
    result = np.full(count, start, np.int64)
    choose.at(result, part, values)
    return result
