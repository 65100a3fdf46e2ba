"""What a digit can be on in a picture: a sheet of paper on a table, a plate that it is cut out of."""

import numpy as np
from numpy.typing import NDArray

from app.vision.components import components
from app.vision.digit import otsu
from app.vision.ink import UInt8Image, counts

# A sheet of paper on a table: it has this share of the picture, at most this share of the picture's border is as light
# as it, it is this much lighter than the rest (of 255), and all but this much of it is empty.
SMALLEST_SHEET, SHEET_RING, SHEET_CONTRAST, SHEET_FILLED = 0.12, 0.5, 60, 0.75

# A box of ink is a plate with a digit cut out of it when it has room for one (in pixels), this much of its outline is
# ink, and this much of all of it: a plain bar is fuller.
SMALLEST_PLATE = 10
PLATE_OUTLINE, PLATE_FILLED, PLATE_FULL = 0.85, 0.5, 0.97

# The hole of a rectangular 0 is a box itself, wider than a 1 on a plate.
HOLE_FILLED, HOLE_WIDTH = 0.85, 0.35


def plate(inked: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Rows and columns of a filled box that has its digit in the colour of the paper; None where there is none."""
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    box = inked[place]
    if min(box.shape) < SMALLEST_PLATE or not PLATE_FILLED < box.mean() < PLATE_FULL:
        return None
    if np.concatenate([box[0], box[-1], box[:, 0], box[:, -1]]).mean() < PLATE_OUTLINE:
        return None
    hole = ~box
    tall, wide = np.count_nonzero(hole.any(axis=1)), np.count_nonzero(hole.any(axis=0))
    is_nought = np.count_nonzero(hole) > HOLE_FILLED * tall * wide and wide > HOLE_WIDTH * box.shape[1]
    return None if is_nought else place


def sheet(brightness: UInt8Image, small: UInt8Image) -> tuple[slice, slice] | None:
    """Rows and columns of a light sheet of paper that lies on something dark; None where there is none.

    Looked for on the thumbnail, in the light as it is: what is made of it beside its surroundings depends on its size.
    """
    border = np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]])
    if max(brightness.shape) < max(small.shape) or border.mean() >= small.mean():  # nearly always
        return None
    level = otsu(counts(small))
    light = small > level
    if (border > level).mean() > SHEET_RING or light.mean() < SMALLEST_SHEET:
        return None
    parts = components(light)
    place = plate(parts.mask(parts.area == parts.area.max()))
    if place is None or any(side.stop - side.start == whole for side, whole in zip(place, small.shape, strict=True)):
        return None  # light from edge to edge is where no shadow falls
    if small[light].mean() - small[~light].mean() < SHEET_CONTRAST or light[place].mean() < SHEET_FILLED:
        return None
    scale = max(brightness.shape) / max(small.shape)
    rows, columns = ((side.start + 1, side.stop - 1) for side in place)  # its edges are half table
    return slice(*(round(row * scale) for row in rows)), slice(*(round(column * scale) for column in columns))
