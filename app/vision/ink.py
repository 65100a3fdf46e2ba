"""A decoded picture to an ink map: how much ink lies where, whatever the colours and the light."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from app.vision.decode import load

Grey = NDArray[np.float32]

# Longest side of the working picture: a digit that fills a twentieth of it still has 40 pixels, twice what
# the 20x20 box takes, and the steps after this one stay at a few milliseconds.
WORKING_SIDE = 800

# The paper's brightness is estimated on a picture of this side, by closing with a window that is wider than any
# stroke is thick (a fifth of the side): dark places narrower than it vanish, the edge of a shadow stays.
PAPER_SIDE, PAPER_WINDOW, PAPER_SMOOTHING = 64, 13, 2

# Darker paper than this (of 255) is divided by as if it were this bright, so that grain grows four times at most.
DARKEST_PAPER = 64

# Colours that differ this much more along another axis than in brightness are told apart along that axis.
COLOUR_FACTOR = 2.0


def shrink(image: Image.Image) -> Image.Image:
    """Decode an opened picture at a working size, upright.

    JPEG is decoded straight to an eighth, quarter or half of its size where that is enough. Otherwise whole
    pixels are averaged. Raises NotAnImage when the pixels are damaged.
    """
    target = (WORKING_SIDE, WORKING_SIDE)
    if image.format == "JPEG":
        image.draft(None, target)
    load(image)
    factor = max(image.size) // WORKING_SIDE
    orientation = image
    if factor > 1 and image.mode in ("L", "LA", "RGB", "RGBA", "CMYK", "I", "F"):
        image = image.reduce(factor)
    return _upright(image, orientation)


def _upright(image: Image.Image, original: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF orientation (tag 274) says; a damaged EXIF block turns nothing."""
    try:
        orientation = original.getexif().get(274, 1)
    except (SyntaxError, ValueError, OSError, KeyError, TypeError):
        return image
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def grey(image: Image.Image) -> Grey:
    """Brightness, float32 (height, width), 0 to 255; transparent places are white.

    A picture that would be blank on white, white ink on nothing, is laid on black.
    """
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        on_white = _brightness(_lay_on(image, "white"))
        return on_white if np.ptp(on_white) > 0 else _brightness(_lay_on(image, "black"))
    return _brightness(image)


def _lay_on(image: Image.Image, ground: str) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, ground), image).convert("RGB")


def _brightness(image: Image.Image) -> Grey:
    if image.mode in ("L", "1"):
        return np.asarray(image.convert("L"), np.float32)
    if image.mode.startswith("I;16"):
        return np.asarray(image, np.float32) / np.float32(257)  # 65535 to 255
    if image.mode in ("I", "F"):  # no range is promised, so the picture's own is stretched
        values: Grey = np.nan_to_num(np.asarray(image, np.float32))
        values = (values - values.min()) * np.float32(255 / max(float(np.ptp(values)), 1e-6))
        return values
    image = image.convert("RGB")
    luma = np.asarray(image.convert("L"), np.float32)
    colours = np.asarray(image, np.float32)
    # Red on green of the same brightness: look along the axis on which the colours differ most.
    sample = colours[:: max(1, image.height // 200), :: max(1, image.width // 200)].reshape(-1, 3)
    variances, axes = np.linalg.eigh(np.cov(sample.T) if len(sample) > 1 else np.zeros((3, 3)))
    if variances[-1] <= (COLOUR_FACTOR * luma.std()) ** 2 + 1:
        return luma
    along: Grey = colours @ axes[:, -1].astype(np.float32)
    if float(np.median(along)) < (along.min() + along.max()) / 2:
        along = -along  # an axis has no direction of its own: let the ground, the larger part, be light
    along = np.clip(along + (255 - along.max()), 0, 255)
    return along


def ink(brightness: Grey) -> Grey:
    """How dark each place is beside its paper: float32, 0 (paper) to 255 (as if black on white).

    Light ink on a dark ground is turned round first; then the light is flattened by dividing by the paper.
    """
    dark_on_light = 255 - brightness if has_dark_ground(brightness) else brightness
    small = Image.fromarray(dark_on_light).resize((PAPER_SIDE, PAPER_SIDE), Image.Resampling.BOX)
    levels = Image.fromarray(np.rint(np.asarray(small)).clip(0, 255).astype(np.uint8))
    closed = levels.filter(ImageFilter.MaxFilter(PAPER_WINDOW)).filter(ImageFilter.MinFilter(PAPER_WINDOW))
    smooth = closed.filter(ImageFilter.GaussianBlur(PAPER_SMOOTHING)).convert("F")
    size = (brightness.shape[1], brightness.shape[0])
    paper: Grey = np.asarray(smooth.resize(size, Image.Resampling.BILINEAR))
    paper = np.maximum(paper, DARKEST_PAPER)
    darkness: Grey = 255 * (1 - dark_on_light / paper)
    return np.clip(darkness, 0, 255)


def has_dark_ground(brightness: Grey) -> bool:
    """Whether the ink is lighter than the ground, told by the border.

    The ground is the median of a ring along the border; ink is what departs from it furthest.
    """
    height, width = brightness.shape
    ring = max(1, min(height, width) // 20)
    inner = np.zeros(brightness.shape, bool)
    inner[ring : height - ring, ring : width - ring] = True
    ground = float(np.median(brightness[~inner])) if not inner.all() else float(np.median(brightness))
    low, high = np.percentile(brightness, (0.1, 99.9))
    return bool(high - ground > ground - low)
