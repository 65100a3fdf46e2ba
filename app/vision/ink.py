"""A decoded picture to an ink map: how much ink lies where, whatever the colours and the light."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from app.vision.decode import DAMAGE, damaged, is_jpeg, load

Float32Image = NDArray[np.float32]
UInt8Image = NDArray[np.uint8]
Scalar = TypeVar("Scalar", bound=np.generic)

# JPEG is decoded to no less than this on its longer side: a digit that fills a twentieth of it still has 40 pixels,
# twice what the 20x20 box takes.
DECODED_SIDE = 800

# Most pixels on the longer side of what is looked at: a digit that fills half of it has five pixels for each of
# the 20x20 box, and all steps together take a millisecond.
WORKING_SIDE = 160

# The paper's brightness is estimated on a picture of this side, by closing with a window that is wider than any
# stroke is thick (a quarter of the side): dark places narrower than it vanish, the edge of a shadow stays.
PAPER_SIDE, PAPER_WINDOW, PAPER_SMOOTHING = 64, 17, 1

# The surroundings of a place, for the skew, are a Gaussian of this many of the small picture's pixels.
SURROUNDINGS, SKEW_WEIGHT = 10, 1.2

# Darker paper than this (of 255) is divided by as if it were this bright, so that grain grows four times at most.
DARKEST_PAPER = 64

# Ink that is on average less than this (of 255) darker than its paper is taken for grain.
FAINTEST = 12

# Of a 28x28 picture, wider than its strokes.
RAISED_WINDOW = 7

# Bands of ground differ by this much (of 255), while their two ends differ by no more than this on average.
BAND_CONTRAST, BAND_AGREEMENT = 128, 8

# White in files of floats (the first) and of 8, 10, 12, 14, 16 and 32 bits.
_FULL_SCALES = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0, 4294967295.0)

# Pixels of a deep picture that are scaled at a time: as floats, all 25 million would take a gigabyte.
BLOCK = 2**18

# Colours that differ this much more along another axis than in brightness are told apart along that axis.
COLOUR_FACTOR = 2.0

# Shares of red, green and blue in a picture's brightness (ITU-R BT.601), by which Pillow makes grey of it.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def decode(image: Image.Image) -> Image.Image:
    """The pixels of an opened picture, upright, as 8-bit grey, RGB or RGBA.

    JPEG is decoded straight to an eighth, quarter or half of its size where that is enough.
    Raises NotAnImage when the pixels are damaged.
    """
    if is_jpeg(image):
        image.draft(None, (DECODED_SIDE, DECODED_SIDE))
    load(image)
    try:
        return _upright(_simple(image), _orientation(image))
    except (*DAMAGE, ImportError):  # odd metadata, and colours that Pillow was built without
        raise damaged(image) from None


def _simple(image: Image.Image) -> Image.Image:
    """Any mode as L, RGB or RGBA: the others cannot be averaged, and some hold several times the memory."""
    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(np.asarray(image))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        return image if image.mode == "RGBA" else image.convert("RGBA")  # a copy would be as large once more
    mode = "L" if image.mode in ("L", "1") else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _from_deep(values: NDArray[Any]) -> Image.Image:
    """Whole numbers of more than 8 bits, or floats, as 8-bit grey.

    White is the least of the usual full scales that the largest value fits, since files do not tell it:
    cameras and scanners put 10, 12 or 14 bits into 16. Values that are not finite count as the nearest that are.
    """
    result = np.empty(values.shape, np.uint8)
    rows = max(1, BLOCK // values.shape[1])
    blocks = [slice(start, start + rows) for start in range(0, len(values), rows)]
    ends: list[float] = []
    for block in blocks:
        finite = values[block][np.isfinite(values[block])]
        ends += [float(finite.min()), float(finite.max())] if finite.size else []
    low, high = (min(ends), max(ends)) if ends else (0.0, 0.0)
    scales = _FULL_SCALES if values.dtype.kind == "f" else _FULL_SCALES[1:]
    white = next((scale for scale in scales if high <= scale), high)
    for block in blocks:
        numbers = np.nan_to_num(values[block].astype(np.float64), nan=high, posinf=high, neginf=low)
        result[block] = np.rint(np.clip(numbers / white, 0, 1) * 255)
    return Image.fromarray(result)


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation (tag 274); a damaged EXIF block turns nothing."""
    if not image.info and image.format == "PNG":  # no EXIF to be asked for, which takes longer than to see that
        return 1
    try:
        found = image.getexif().get(274, 1)
    except (*DAMAGE, KeyError):
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


def within(image: Image.Image, side: int) -> Image.Image:
    """The picture on the smallest scale, one in 1, 2, 3 …, at which its longer side has at most so many pixels."""
    factor = -(-max(image.size) // side)
    return image.reduce(factor) if factor > 1 else image


def grey(image: Image.Image) -> UInt8Image:
    """Brightness of an L, RGB or RGBA picture, uint8 (height, width); transparent places are white.

    A picture that would be blank on white, white ink on nothing, is laid on black.
    """
    if image.mode == "RGBA":
        on_white = _brightness(_lay_on(image, "white"))
        return on_white if np.ptp(on_white) >= FAINTEST else _brightness(_lay_on(image, "black"))
    return _brightness(image)


def _lay_on(image: Image.Image, ground: str) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, ground), image).convert("RGB")


def levels(image: Image.Image) -> UInt8Image:
    """The values of an L picture, (height, width), or an RGB one, (height, width, 3); read only.

    Five times as quick as numpy's own way of asking a picture, which counts for 28x28.
    """
    bands = (3,) if image.mode == "RGB" else ()
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, *bands)


def _brightness(image: Image.Image) -> UInt8Image:
    if image.mode == "L":
        return levels(image)
    luma = levels(image.convert("L"))
    colours = levels(image)
    # Red on green of the same brightness: look along the axis on which the colours differ most.
    every = max(1, max(image.size) // 50)
    sample = colours[::every, ::every].reshape(-1, 3).astype(np.float32)
    deviations = sample - sample.mean(axis=0)
    covariance = deviations.T @ deviations / len(sample)
    variances, axes = np.linalg.eigh(covariance)
    if variances[-1] <= COLOUR_FACTOR**2 * float(LUMA @ covariance @ LUMA) + 1:
        return luma
    along = colours @ axes[:, -1].astype(np.float32)
    if float(np.median(along)) < (along.min() + along.max()) / 2:
        along = -along  # an axis has no direction of its own: let the ground, the larger part, be light
    result: UInt8Image = np.rint(np.clip(along + (255 - along.max()), 0, 255)).astype(np.uint8)
    return result


def ink(brightness: UInt8Image, small: UInt8Image) -> UInt8Image:
    """How dark each place is beside its paper: uint8, 0 (paper) to 255 (as if black on white).

    small: its thumbnail. Light ink on a dark ground is turned round first; then the light is flattened by dividing by
    the paper.
    """
    dark = has_dark_ground(brightness, small)
    dark_on_light, small = (~brightness, ~small) if dark else (brightness, small)
    height, width = brightness.shape
    closed = _closed(small)
    smooth = levels(Image.fromarray(closed).filter(ImageFilter.GaussianBlur(PAPER_SMOOTHING)))
    # Never lighter than closed: on the dark side of a shadow's edge that would look like a stroke along it.
    paper = levels(Image.fromarray(np.minimum(closed, smooth)).resize((width, height), Image.Resampling.BILINEAR))
    darkness: UInt8Image = np.clip(255.5 - dark_on_light * _PER_PAPER[paper], 0, 255).astype(np.uint8)
    return darkness


def raised(brightness: UInt8Image) -> UInt8Image:
    """How far each place of a small picture stands out of the ground right around it, as ink does: uint8.

    The ground is estimated by opening with a window of RAISED_WINDOW pixels, and subtracted.
    """
    light = brightness if has_dark_ground(brightness, thumbnail(brightness)) else ~brightness
    opened = running_most(~running_most(~light, RAISED_WINDOW), RAISED_WINDOW)
    ground = levels(Image.fromarray(np.minimum(opened, light)).filter(ImageFilter.GaussianBlur(PAPER_SMOOTHING)))
    return light - np.minimum(ground, light)


def without_bands(brightness: UInt8Image) -> UInt8Image | None:
    """What departs from a ground in bands that differ as much as black and white, uint8; None where it has none.

    A digit across such bands is light on the dark ones and dark on the light ones. The ground is what both ends of a
    column (row) agree on.
    """
    for upright in (brightness, brightness.T):
        top, bottom = upright[0].astype(np.int16), upright[-1].astype(np.int16)
        if np.ptp(top) >= BAND_CONTRAST and np.abs(top - bottom).mean() < BAND_AGREEMENT:
            departure: UInt8Image = np.abs(upright - (top + bottom) // 2).astype(np.uint8)
            return departure if upright is brightness else departure.T
    return None


# 255 over the paper's brightness, for each level of it.
_PER_PAPER = (255 / np.maximum(np.arange(256), DARKEST_PAPER)).astype(np.float32)


def thumbnail(brightness: UInt8Image) -> UInt8Image:
    """The same on a scale of PAPER_SIDE pixels on the longer side."""
    height, width = brightness.shape
    scale = PAPER_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return levels(Image.fromarray(brightness).resize(size, Image.Resampling.BOX))


def _closed(brightness: UInt8Image) -> UInt8Image:
    """Dark places that are narrower than the window filled with the light around them.

    Those that are not, shadows, get a pixel more all around: enlarged, the light would reach over their sharp edges.
    """
    return ~running_most(~running_most(brightness, PAPER_WINDOW), PAPER_WINDOW + 2)


def running_most(values: NDArray[Scalar], window: int) -> NDArray[Scalar]:
    """The largest value in a square window, of an odd number of pixels, around each place."""
    for _ in range(2):  # along one axis, then along the other
        margin = window // 2
        padded = np.concatenate([values[:, :1].repeat(margin, 1), values, values[:, -1:].repeat(margin, 1)], 1)
        covered = 1
        while covered < window:  # windows of 2, 4, 8 … from halves, the last with some overlap
            step = min(covered, window - covered)
            padded = np.maximum(padded[:, step:], padded[:, :-step])
            covered += step
        values = padded.T
    return values


def has_dark_ground(brightness: UInt8Image, small: UInt8Image) -> bool:
    """Whether the ink is lighter than the ground, told by the border and by the skew, which outweigh each other.

    The border: its median is the ground, and ink is what departs from it furthest. That fails in deep shadows, where
    the light paper departs further. The skew: ink covers less than paper, so beside their surroundings few places
    are very much lighter, or darker. That fails where ink fills the picture. small: the same on a small scale.
    """
    occurrences = counts(brightness)
    low, high = quantile(occurrences, 0.001), quantile(occurrences, 0.999)
    ring = max(1, min(brightness.shape) // 20)
    upright = brightness[ring:-ring]
    sides = (brightness[:ring], brightness[-ring:], upright[:, :ring], upright[:, -ring:])
    ground = quantile(counts(np.concatenate([side.ravel() for side in sides])), 0.5)
    departure = (low + high - 2 * ground) / max(high - low, 1)  # -1: only darker than the ground, 1: only lighter

    blurred = levels(Image.fromarray(small).filter(ImageFilter.GaussianBlur(SURROUNDINGS)))
    beside = small.ravel().astype(np.float32) - blurred.ravel()
    beside -= beside.mean()
    squares = beside * beside
    deviation = float(squares.mean()) ** 0.5
    skew = float(squares @ beside) / len(beside) / max(deviation, 1e-3) ** 3
    return bool(departure + SKEW_WEIGHT * skew > 0)


def counts(values: UInt8Image) -> NDArray[np.int64]:
    """How often each level occurs: (256,)."""
    return np.bincount(values.ravel(), minlength=256)


def quantile(occurrences: NDArray[np.int64], share: float) -> int:
    """The level that this share of all values does not exceed."""
    total = np.cumsum(occurrences)
    return int(np.searchsorted(total, share * total[-1]))
