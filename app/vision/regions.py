"""What a digit can be on in an image: a sheet of paper on a table, a plate that it is cut out of."""

import numpy as np

from app.vision.components import find_components
from app.vision.image_ops import Mask, Region, UInt8Image, histogram, otsu_threshold

# A sheet of paper on a table covers at least this share of the image, at most this share of the image's border is as
# light as it, it is lighter than the rest by this much, of 255, and at least this share of it is empty.
MIN_SHEET_AREA, MAX_LIGHT_BORDER, MIN_SHEET_CONTRAST, MIN_SHEET_EMPTY = 0.12, 0.5, 60, 0.75

# A filled box is a plate with a digit cut out of it where it has room for one, in pixels, this share of its outline is
# foreground, and a share between these of all of it: a plain bar is fuller.
MIN_PLATE_SIDE = 10
MIN_PLATE_OUTLINE, MIN_PLATE_FILL, MAX_PLATE_FILL = 0.85, 0.5, 0.97

# The hole of a rectangular 0 fills its own box, and is wider than a 1 on a plate.
MIN_ZERO_HOLE_FILL, MIN_ZERO_HOLE_WIDTH = 0.85, 0.35


def find_plate(foreground: Mask) -> Region | None:
    """Find a filled box with a digit in the colour of the background.

    Args:
        foreground: bool (height, width), at least one pixel of it true.

    Returns:
        Rows and columns of the box; None where there is none.
    """
    rows, columns = np.flatnonzero(foreground.any(axis=1)), np.flatnonzero(foreground.any(axis=0))
    region = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    box = foreground[region]
    if min(box.shape) < MIN_PLATE_SIDE or not MIN_PLATE_FILL < box.mean() < MAX_PLATE_FILL:
        return None
    if np.concatenate([box[0], box[-1], box[:, 0], box[:, -1]]).mean() < MIN_PLATE_OUTLINE:
        return None
    hole = ~box
    height, width = np.count_nonzero(hole.any(axis=1)), np.count_nonzero(hole.any(axis=0))
    fills_its_box = np.count_nonzero(hole) > MIN_ZERO_HOLE_FILL * height * width
    is_zero = fills_its_box and width > MIN_ZERO_HOLE_WIDTH * box.shape[1]
    return None if is_zero else region


def find_sheet(brightness: UInt8Image, thumbnail: UInt8Image) -> Region | None:
    """Find a light sheet of paper that lies on something dark.

    It is looked for before the background is removed: what that makes of a sheet depends on the sheet's size.

    Args:
        brightness: uint8 (height, width).
        thumbnail: The same by ``background.make_thumbnail``.

    Returns:
        Rows and columns of the sheet in ``brightness``; None where there is none.
    """
    border = np.concatenate([thumbnail[0], thumbnail[-1], thumbnail[:, 0], thumbnail[:, -1]])
    if max(brightness.shape) < max(thumbnail.shape) or border.mean() >= thumbnail.mean():  # nearly always
        return None
    threshold = otsu_threshold(histogram(thumbnail))
    light = thumbnail > threshold
    if (border > threshold).mean() > MAX_LIGHT_BORDER or light.mean() < MIN_SHEET_AREA:
        return None
    components = find_components(light)
    sheet = find_plate(components.mask(components.area == components.area.max()))
    # Light from edge to edge is where no shadow falls.
    if sheet is None or any(
        side.stop - side.start == whole for side, whole in zip(sheet, thumbnail.shape, strict=True)
    ):
        return None
    contrast = thumbnail[light].mean() - thumbnail[~light].mean()
    if contrast < MIN_SHEET_CONTRAST or light[sheet].mean() < MIN_SHEET_EMPTY:
        return None
    scale = max(brightness.shape) / max(thumbnail.shape)
    rows, columns = ((side.start + 1, side.stop - 1) for side in sheet)  # the pixels at its edges are half table
    return slice(*(round(row * scale) for row in rows)), slice(*(round(column * scale) for column in columns))
