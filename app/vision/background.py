"""Brightness to foreground: how far each pixel departs from its background, whatever the light."""

import numpy as np
from PIL import Image

from app.vision.image_ops import UInt8Image, gaussian_blur, histogram, maximum_filter, quantile, resize

# The background's brightness is estimated on a thumbnail of this many pixels, by closing with a window that is wider
# than any stroke is thick (a quarter of the side): dark places narrower than it vanish, the edge of a shadow stays.
THUMBNAIL_SIDE, CLOSING_WINDOW, SMOOTHING_RADIUS = 64, 17, 1

# The surroundings of a pixel, for the skew, are a Gaussian of this radius in pixels of the thumbnail.
SURROUNDINGS_RADIUS, SKEW_WEIGHT = 10, 1.2

# A background darker than this, of 255, is divided by as if it were this bright: its grain grows four times at most.
MIN_BACKGROUND = 64

# The window of the opening on a 28x28 image: wider than its strokes.
OPENING_WINDOW = 7

# Bands of the background differ by at least this much, of 255; the two ends of each by no more than this on average.
MIN_BAND_CONTRAST, MAX_END_DIFFERENCE = 128, 8

# 255 over the background's brightness, for each level of it.
_GAIN = (255 / np.maximum(np.arange(256), MIN_BACKGROUND)).astype(np.float32)


def make_thumbnail(brightness: UInt8Image) -> UInt8Image:
    """The image on a scale at which its longer side has 64 pixels: uint8, read-only."""
    height, width = brightness.shape
    scale = THUMBNAIL_SIDE / max(height, width)
    return resize(brightness, max(1, round(height * scale)), max(1, round(width * scale)), Image.Resampling.BOX)


def remove_background(brightness: UInt8Image, thumbnail: UInt8Image) -> UInt8Image:
    """Tell how dark each pixel is beside its background.

    An image with a dark background is inverted first. Then uneven light is flattened by dividing by the background.

    Args:
        brightness: uint8 (height, width).
        thumbnail: The same by ``make_thumbnail``.

    Returns:
        uint8 (height, width), 0 (background) to 255 (as if black on white).
    """
    if has_dark_background(brightness, thumbnail):
        brightness, thumbnail = ~brightness, ~thumbnail
    # What closing leaves dark, such as a shadow, gets a pixel more all around: enlarged, the light beside it would
    # reach over its sharp edge.
    closed = ~maximum_filter(~maximum_filter(thumbnail, CLOSING_WINDOW), CLOSING_WINDOW + 2)
    # Never lighter than closed: on the dark side of a shadow's edge that would look like a stroke along it.
    smooth = np.minimum(closed, gaussian_blur(closed, SMOOTHING_RADIUS))
    height, width = brightness.shape
    background = resize(smooth, height, width, Image.Resampling.BILINEAR)
    foreground: UInt8Image = np.clip(255.5 - brightness * _GAIN[background], 0, 255).astype(np.uint8)
    return foreground


def remove_local_background(brightness: UInt8Image) -> UInt8Image:
    """Tell how far each pixel of a small image departs from what is right around it, in the direction of strokes.

    The background is estimated by opening with a window of 7 pixels, and subtracted.

    Args:
        brightness: uint8 (28, 28).

    Returns:
        uint8 (28, 28), 0 (background) to 255.
    """
    light = brightness if has_dark_background(brightness, make_thumbnail(brightness)) else ~brightness
    opened = maximum_filter(~maximum_filter(~light, OPENING_WINDOW), OPENING_WINDOW)
    background = gaussian_blur(np.minimum(opened, light), SMOOTHING_RADIUS)
    return light - np.minimum(background, light)


def remove_bands(brightness: UInt8Image) -> UInt8Image | None:
    """Subtract a background of bands that differ as much as black and white.

    A digit across such bands is light on the dark ones and dark on the light ones. The background of a column, or row,
    is what both its ends agree on.

    Args:
        brightness: uint8 (28, 28).

    Returns:
        uint8 (28, 28), 0 (background) to 255. None where there are no such bands.
    """
    for upright in (brightness, brightness.T):
        top, bottom = upright[0].astype(np.int16), upright[-1].astype(np.int16)
        if np.ptp(top) >= MIN_BAND_CONTRAST and np.abs(top - bottom).mean() < MAX_END_DIFFERENCE:
            departure: UInt8Image = np.abs(upright - (top + bottom) // 2).astype(np.uint8)
            return departure if upright is brightness else departure.T
    return None


def has_dark_background(brightness: UInt8Image, thumbnail: UInt8Image) -> bool:
    """Tell whether the foreground is lighter than the background, by the border and by the skew.

    The border: its median is the background, and the foreground is what departs furthest from it. That fails in deep
    shadows, where light paper departs further. The skew: strokes cover less than paper, so few pixels are very much
    lighter, or darker, than their surroundings. That fails where the digit fills the image. Where one fails, the other
    outweighs it.

    Args:
        brightness: uint8 (height, width).
        thumbnail: The same by ``make_thumbnail``.
    """
    occurrences = histogram(brightness)
    low, high = quantile(occurrences, 0.001), quantile(occurrences, 0.999)
    border = max(1, min(brightness.shape) // 20)
    between = brightness[border:-border]
    sides = (brightness[:border], brightness[-border:], between[:, :border], between[:, -border:])
    background = quantile(histogram(np.concatenate([side.ravel() for side in sides])), 0.5)
    # From -1, only darker than the background, to 1, only lighter.
    departure = (low + high - 2 * background) / max(high - low, 1)

    surroundings = gaussian_blur(thumbnail, SURROUNDINGS_RADIUS)
    difference = thumbnail.ravel().astype(np.float32) - surroundings.ravel()
    difference -= difference.mean()
    squares = difference * difference
    deviation = float(squares.mean()) ** 0.5
    skew = float(squares @ difference) / len(difference) / max(deviation, 1e-3) ** 3
    return bool(departure + SKEW_WEIGHT * skew > 0)
