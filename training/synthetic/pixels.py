"""What the makers of pictures share: grey levels, gradients, noise fields, blur and warp."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

SIDE = 28

Random = np.random.Generator
Floats = NDArray[np.floating[Any]]
Image28 = NDArray[np.uint8]


def to_uint8(values: Floats) -> NDArray[np.uint8]:
    """Round to whole grey levels.

    Args:
        values: grey levels of any shape; those under 0 and over 255 are clipped.

    Returns:
        uint8 array of the same shape.
    """
    levels: NDArray[np.uint8] = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return levels


def gradient(rows: Floats, columns: Floats, random: Random) -> NDArray[np.float64]:
    """A plane that rises in a random direction.

    Args:
        rows: positions of the picture's rows, (height,).
        columns: positions of its columns, (width,).
        random: chooses the direction.

    Returns:
        float64 (height, width): the position along that direction.
    """
    angle = random.uniform(0, 2 * np.pi)
    return np.asarray(np.cos(angle) * columns + np.sin(angle) * rows[:, None])


def cloud(random: Random, knots: int) -> NDArray[np.float32]:
    """A smooth random field, float32 (28, 28), 0 to 1; the more knots a side, the finer."""
    coarse = Image.fromarray(random.random((knots, knots), np.float32))
    field = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
    return np.asarray((field - field.min()) / max(float(np.ptp(field)), 1e-3), np.float32)


def blur(images: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Blur each of (n, height, width) images by a Gaussian of ``sigma`` pixels; beyond the border all is 0."""
    return np.asarray(ndimage.gaussian_filter(images, (0, sigma, sigma), mode="constant"))


def warp(images: NDArray[np.float32], matrices: Floats, offsets: Floats | float = 0.0) -> NDArray[np.float32]:
    """Warp each image by an affine map around its centre, with bilinear interpolation and 0 outside.

    Args:
        images: float32 (n, height, width).
        matrices: (n, 2, 2) or (2, 2), from the result's rows and columns to the source's.
        offsets: rows and columns by which the result is shifted afterwards, (n, 2).

    Returns:
        float32 array of the same shape.
    """
    centre = (np.array(images.shape[1:]) - 1) / 2
    matrices = np.broadcast_to(matrices, (len(images), 2, 2))
    offsets = np.broadcast_to(offsets, (len(images), 2))
    result = np.empty_like(images)
    for image, matrix, offset, target in zip(images, matrices, offsets, result, strict=True):
        # scipy maps from the top left corner.
        ndimage.affine_transform(
            image, matrix, centre - matrix @ (centre + offset), output=target, order=1, mode="grid-constant"
        )
    return result
