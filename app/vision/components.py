"""Connected parts of a mask, in numpy alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Components:
    """The 8-connected parts of a mask; area, contact and the four sides have one entry a part.

    area: pixels. contact: pixels on the border of the mask, those in its corners counted twice.
    top, left: first row and column. bottom, right: one past the last.
    starts, ends: of the horizontal runs that the mask is made of, see ``runs``. part: which part each belongs to.
    """

    shape: tuple[int, int]
    area: Numbers
    contact: Numbers
    top: Numbers
    bottom: Numbers
    left: Numbers
    right: Numbers
    starts: Numbers
    ends: Numbers
    part: Numbers

    def mask(self, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The mask of these parts alone, (height, width). kept: one entry a part."""
        height, width = self.shape
        chosen = kept[self.part]
        starts, ends = self.starts[chosen], self.ends[chosen]
        # Lengths of what is empty and what is filled, in turns, up to the end of the last row.
        lengths = np.diff(np.stack([starts, ends], 1).ravel(), prepend=0, append=height * (width + 2))
        filled = np.arange(len(lengths)) % 2 == 1
        return np.repeat(filled, lengths).reshape(height, width + 2)[:, 1:-1]

    def most(self, values: NDArray[np.uint8]) -> Numbers:
        """The largest of the values, uint8 (height, width), within each part."""
        result = np.zeros(len(self.area), np.int64)
        if len(self.starts):
            padded = np.zeros((self.shape[0], self.shape[1] + 2), np.uint8)
            padded[:, 1:-1] = values
            # Every other of these is a run's, the ones between are of what lies between runs.
            largest = np.maximum.reduceat(padded.ravel(), np.stack([self.starts, self.ends], 1).ravel())[::2]
            np.maximum.at(result, self.part, largest)
        return result


def runs(mask: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """Starts and ends (one past the last) of the mask's horizontal runs.

    As places in the mask laid out row by row with an empty column on either side, so that no run reaches into the
    next row.
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 2), bool)
    padded[:, 1:-1] = mask
    line = padded.ravel()
    edges = np.flatnonzero(line[1:] != line[:-1]) + 1
    return edges[::2], edges[1::2]


def components(mask: NDArray[np.bool_]) -> Components:
    """Find the parts by joining horizontal runs that touch from row to row.

    The work is in the runs, not the pixels: a digit of half a megapixel has a few hundred.
    """
    height, width = mask.shape
    wide = width + 2
    starts, ends = runs(mask)

    # A run touches those of the next row that begin at or before its end and end at or after its start.
    first = np.searchsorted(ends, starts + wide, side="left")
    past = np.searchsorted(starts, ends + wide, side="right")
    counts = np.maximum(past - first, 0)
    above = np.repeat(np.arange(len(starts)), counts)
    below = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)

    root = _roots(len(starts), above, below)
    own = root == np.arange(len(root))
    part = (np.cumsum(own) - 1)[root]
    count = int(own.sum())
    rows = starts // wide
    left, right = starts - rows * wide - 1, ends - rows * wide - 1
    across = ((rows == 0).astype(np.int64) + (rows == height - 1)) * (ends - starts)
    contact = across + (left == 0) + (right == width)
    return Components(
        (height, width),
        np.bincount(part, ends - starts, count).astype(np.int64),
        np.bincount(part, contact, count).astype(np.int64),
        _extreme(np.minimum, part, rows, count, height),
        _extreme(np.maximum, part, rows + 1, count, 0),
        _extreme(np.minimum, part, left, count, width),
        _extreme(np.maximum, part, right, count, 0),
        starts,
        ends,
        part,
    )


def _roots(count: int, one: Numbers, other: Numbers) -> Numbers:
    """The smallest node that each of ``count`` nodes is joined to, directly or not."""
    root = np.arange(count)
    while True:
        a, b = root[one], root[other]
        if (a == b).all():
            return root
        # Hang the larger root below the smaller one, then let every node point at the root of its root.
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(root, further := root[root]):
            root = further


def _extreme(choose: np.ufunc, part: Numbers, values: Numbers, count: int, start: int) -> Numbers:
    result = np.full(count, start, np.int64)
    choose.at(result, part, values)
    return result
