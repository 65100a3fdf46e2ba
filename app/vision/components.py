"""Connected components of a mask."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.vision.image_ops import Mask, UInt8Image, runs

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Components:
    """The n components of a mask, 8-connected.

    Attributes:
        shape: Height and width of the mask.
        area: int64 (n,), pixels.
        border_contact: int64 (n,), pixels on the border of the mask. Those in its corners count twice.
        top: int64 (n,), first row.
        bottom: int64 (n,), one past the last row.
        left: int64 (n,), first column.
        right: int64 (n,), one past the last column.
        starts: int64 (m,), where the horizontal runs of the mask start, see ``image_ops.runs``.
        ends: int64 (m,), where they end.
        component: int64 (m,), which component each run belongs to.
    """

    shape: tuple[int, int]
    area: Numbers
    border_contact: Numbers
    top: Numbers
    bottom: Numbers
    left: Numbers
    right: Numbers
    starts: Numbers
    ends: Numbers
    component: Numbers

    def __len__(self) -> int:
        return len(self.area)

    @property
    def height(self) -> Numbers:
        """int64 (n,), rows of each bounding box."""
        return self.bottom - self.top

    @property
    def width(self) -> Numbers:
        """int64 (n,), columns of each bounding box."""
        return self.right - self.left

    def mask(self, chosen: Mask) -> Mask:
        """The pixels of some components: bool (height, width).

        Args:
            chosen: bool (n,).
        """
        height, width = self.shape
        of_chosen = chosen[self.component]
        starts, ends = self.starts[of_chosen], self.ends[of_chosen]
        # Lengths of what is empty and what is filled, by turns, up to the end of the last row.
        lengths = np.diff(np.stack([starts, ends], 1).ravel(), prepend=0, append=height * (width + 2))
        filled = np.arange(len(lengths)) % 2 == 1
        return np.repeat(filled, lengths).reshape(height, width + 2)[:, 1:-1]

    def maximum(self, image: UInt8Image) -> Numbers:
        """The largest value of an image within each component: int64 (n,).

        Args:
            image: uint8 (height, width).
        """
        result = np.zeros(len(self), np.int64)
        if len(self.starts):
            padded = np.zeros((self.shape[0], self.shape[1] + 2), np.uint8)
            padded[:, 1:-1] = image
            # Every other segment is a run, the ones between them are what lies between two runs.
            largest = np.maximum.reduceat(padded.ravel(), np.stack([self.starts, self.ends], 1).ravel())[::2]
            np.maximum.at(result, self.component, largest)
        return result


def find_components(mask: Mask) -> Components:
    """Find the components by joining horizontal runs that touch from row to row.

    The work grows with the runs, not with the pixels: a digit of half a megapixel has a few hundred.

    Args:
        mask: bool (height, width).
    """
    height, width = mask.shape
    padded_width = width + 2
    starts, ends = runs(mask)

    # A run touches those of the next row that begin at or before its end and end at or after its start.
    first = np.searchsorted(ends, starts + padded_width, side="left")
    past = np.searchsorted(starts, ends + padded_width, side="right")
    counts = np.maximum(past - first, 0)
    above = np.repeat(np.arange(len(starts)), counts)
    below = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)

    root = _roots(len(starts), above, below)
    is_root = root == np.arange(len(root))
    component = (np.cumsum(is_root) - 1)[root]
    count = int(is_root.sum())
    rows = starts // padded_width
    left, right = starts - rows * padded_width - 1, ends - rows * padded_width - 1
    on_top_or_bottom = ((rows == 0).astype(np.int64) + (rows == height - 1)) * (ends - starts)
    border_contact = on_top_or_bottom + (left == 0) + (right == width)
    return Components(
        (height, width),
        np.bincount(component, ends - starts, count).astype(np.int64),
        np.bincount(component, border_contact, count).astype(np.int64),
        _extreme(np.minimum, component, rows, count, height),
        _extreme(np.maximum, component, rows + 1, count, 0),
        _extreme(np.minimum, component, left, count, width),
        _extreme(np.maximum, component, right, count, 0),
        starts,
        ends,
        component,
    )


def _roots(count: int, one: Numbers, other: Numbers) -> Numbers:
    """The smallest of the nodes that each of ``count`` nodes is joined to, directly or through others.

    Args:
        count: How many nodes there are.
        one: One end of each edge.
        other: Its other end.
    """
    root = np.arange(count)
    while True:
        a, b = root[one], root[other]
        if (a == b).all():
            return root
        # Hang the larger root below the smaller one, then let every node point at the root of its root.
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(root, further := root[root]):
            root = further


def _extreme(choose: np.ufunc, component: Numbers, values: Numbers, count: int, start: int) -> Numbers:
    result = np.full(count, start, np.int64)
    choose.at(result, component, values)
    return result
