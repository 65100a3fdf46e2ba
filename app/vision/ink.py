"""A decoded picture to an ink map: how much ink lies where, whatever the colours and the light."""

from typing import Any

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

# Ink that is on average less than this (of 255) darker than its paper is taken for grain.
FAINTEST = 24

# White in files of floats (the first) and of 8, 10, 12, 14, 16 and 32 bits.
_FULL_SCALES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0, 4294967295.0)

# Colours that differ this much more along another axis than in brightness are told apart along that axis.
COLOUR_FACTOR = 2.0


def shrink(image: Image.Image) -> Image.Image:
    """Decode an opened picture at a working size, upright, as 8-bit grey, RGB or RGBA.

    JPEG is decoded straight to an eighth, quarter or half of its size where that is enough. Otherwise whole
    pixels are averaged. Raises NotAnImage when the pixels are damaged.
    """
    if image.format == "JPEG":
        image.draft(None, (WORKING_SIDE, WORKING_SIDE))
    simple = _simple(load(image))
    factor = max(simple.size) // WORKING_SIDE
    return _upright(simple.reduce(factor) if factor > 1 else simple, _orientation(image))


def _simple(image: Image.Image) -> Image.Image:
    """Any mode as L, RGB or RGBA: the others cannot be averaged, and some hold several times the memory."""
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(np.asarray(image))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("L", "1") else "RGB")


def _from_deep(values: NDArray[Any]) -> Image.Image:
    """Whole numbers of more than 8 bits, or floats, as 8-bit grey.

    White is the least of the usual full scales that the largest value fits, since files do not tell it:
    cameras and scanners put 10, 12 or 14 bits into 16. Values that are not finite count as the nearest that are.
    """
    numbers = values.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    numbers = np.nan_to_num(numbers, nan=high, posinf=high, neginf=low)
    scales = _FULL_SCALES if values.dtype.kind == "f" else _FULL_SCALES[1:]
    white = next((scale for scale in scales if high <= scale), high)
    return Image.fromarray(np.rint(np.clip(numbers / white, 0, 1) * 255).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation (tag 274); a damaged EXIF block turns nothing."""
    try:
        found = image.getexif().get(274, 1)
    except (SyntaxError, ValueError, OSError, KeyError, TypeError):
        return 1
    return found if isinstance(found, int) else 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
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
    """Brightness of an L, RGB or RGBA picture, float32 (height, width), 0 to 255; transparent places are white.

    A picture that would be blank on white, white ink on nothing, is laid on black.
    """
    if image.mode == "RGBA":
        on_white = _brightness(_lay_on(image, "white"))
        return on_white if np.ptp(on_white) >= FAINTEST else _brightness(_lay_on(image, "black"))
    return _brightness(image)


def _lay_on(image: Image.Image, ground: str) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, ground), image).convert("RGB")


def _brightness(image: Image.Image) -> Grey:
    if image.mode == "L":
        return np.asarray(image, np.float32)
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
