"""An upright 8-bit picture to its brightness, one number a pixel, on a scale that is quick to work on."""

import numpy as np
from PIL import Image

from app.vision.image_ops import UInt8Image, pixels_of

# Pixels of the longer side of what is looked at: a digit that fills half of it has five pixels for each of the 20x20
# box, and all steps together take a millisecond.
WORKING_SIDE = 160

# A picture whose brightest and darkest pixel differ by less than this, of 255, shows nothing.
MIN_CONTRAST = 12

# Colours that differ this much more along another axis than in brightness are told apart along that axis.
COLOUR_FACTOR = 2.0

# Pixels a side of the sample by which the axis is chosen.
SAMPLE_SIDE = 50

# Shares of red, green and blue in a picture's brightness (ITU-R BT.601), by which Pillow makes grey of it.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def shrink(picture: Image.Image) -> Image.Image:
    """Average blocks of 2x2, 3x3, … pixels until the longer side has WORKING_SIDE pixels at most."""
    factor = -(-max(picture.size) // WORKING_SIDE)
    return picture.reduce(factor) if factor > 1 else picture


def to_brightness(picture: Image.Image) -> UInt8Image:
    """One number a pixel, in which the foreground differs from the background.

    Transparent places are white; a picture that would be blank on white, such as white strokes on nothing, is laid on
    black.

    Args:
        picture: L, RGB or RGBA.

    Returns:
        uint8 (height, width), 0 (dark) to 255 (light). Read-only.
    """
    if picture.mode == "RGBA":
        on_white = _without_colour(_lay_on(picture, "white"))
        return on_white if np.ptp(on_white) >= MIN_CONTRAST else _without_colour(_lay_on(picture, "black"))
    return _without_colour(picture)


def _lay_on(picture: Image.Image, colour: str) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", picture.size, colour), picture).convert("RGB")


def _without_colour(picture: Image.Image) -> UInt8Image:
    """The luma; or, for red on green of the same luma, the place along the axis on which the colours differ most."""
    if picture.mode == "L":
        return pixels_of(picture)
    luma = pixels_of(picture.convert("L"))
    colours = pixels_of(picture)
    step = max(1, max(picture.size) // SAMPLE_SIDE)
    sample = colours[::step, ::step].reshape(-1, 3).astype(np.float32)
    deviations = sample - sample.mean(axis=0)
    covariance = deviations.T @ deviations / len(sample)
    variances, axes = np.linalg.eigh(covariance)
    if variances[-1] <= COLOUR_FACTOR**2 * float(LUMA @ covariance @ LUMA) + 1:
        return luma
    along = colours @ axes[:, -1].astype(np.float32)
    if float(np.median(along)) < (along.min() + along.max()) / 2:
        along = -along  # an axis has no direction of its own: let the background, the larger part, be light
    result: UInt8Image = np.rint(np.clip(along + (255 - along.max()), 0, 255)).astype(np.uint8)
    return result
