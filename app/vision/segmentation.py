"""Foreground to the digit alone: which of the connected components make it up, and which are something else."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.vision.components import Components, find_components
from app.vision.image_ops import (
    Float32Image,
    Histogram,
    Mask,
    UInt8Image,
    histogram,
    maximum_filter,
    mean_level,
    otsu_threshold,
    quantile,
)
from app.vision.ruled_lines import remove_ruled_lines

# Strokes that are on average less than this, of 255, darker than their background are taken for grain.
MIN_STROKE_CONTRAST = 12

# So are those that are less than this many standard deviations of the grain darker: grain that is divided at its middle
# gives 2.7, as its lower half has the smaller deviation.
MIN_DEVIATIONS = 4

# Otsu's threshold divides the grain itself where the strokes are too few to count, as of a digit that is tiny in a
# photograph. Then the strokes are what is over half of the darkest level, if it is so many standard deviations darker.
MIN_TINY_DEVIATIONS = 12

# A tiny digit has at least this many pixels one way.
MIN_TINY_SIDE = 3

# What is this many standard deviations above the background's median is no grain.
GRAIN_DEVIATIONS = 4

# The median absolute deviation times this is the standard deviation of a normal distribution.
DEVIATIONS_PER_MAD = 1.48

# What is below this share of the darkest level is not the soft edge of a stroke but what JPEG leaves beside it.
MIN_EDGE_LEVEL = 0.02

# From this share of the way between what is no grain and what is strong, a pixel is part of a stroke however far it is
# from strong ones: pens fade.
FADED_LEVEL = 0.3

# The greatest width of a stroke's soft edge, as a share of the image's longer side, and in pixels at least.
EDGE_WIDTH, MIN_EDGE_PIXELS = 0.015, 2

# Foreground that is STAIN_RATIO times fainter than the rest is a stain if it covers STAIN_AREA of the rest's area and
# levels between the two are rare: they are divided so well by Otsu's measure. If not, it has to cover LARGE_STAIN_AREA,
# as squares all over the page do.
STAIN_RATIO, STAIN_AREA, STAIN_SEPARATION, LARGE_STAIN_AREA = 3.2, 0.3, 0.91, 2

# A component is a frame around another one that is at least this long beside the frame's shorter side, if it lies on
# all four sides of it for this share of its length, fills at most this share of its own bounding box, and is
# rectangular or this wide beside its height: a 0 is narrower.
MIN_FRAMED_SIDE, MIN_SURROUNDED, MAX_FRAME_FILL, MIN_RING_WIDTH = 0.3, 0.9, 0.35, 0.8

# Both sides of a frame are longer than this, in pixels.
MIN_FRAME_SIDE = 3

# A component is a shadow if its shorter side has this share of the image's longer one, it fills this share of its
# bounding box, and its darkest level is under this share of that of a stroke.
MIN_SHADOW_SIDE, MIN_SHADOW_FILL, MAX_SHADOW_LEVEL = 0.12, 0.5, 0.7

# A component smaller than this share of the digit's main one is a speck; strokes that make it another digit, such as
# the bar of a 5 or 7, are larger.
MIN_PART_AREA = 0.02

# A component at the very edge of the image counts for this much less than one in the middle, …
OFF_CENTRE_PENALTY = 0.75

# … and one that lies along the border for half as far as it is wide and high together, such as the frame of a scan or a
# neighbour that is cut in two, for this much less than one that does not touch it.
BORDER_PENALTY = 0.9

# A component belongs to the main one if they share this much of the narrower one's width …
MIN_SHARED_WIDTH = 0.7

# … and the gap between them, from top to bottom, is less than this share of the main one's longer side.
MAX_GAP = 0.25

# A component is another digit on the same line if the lower one of the two has this share of the taller one's height,
# and they share as much of its rows, …
MIN_LINE_HEIGHT = 0.7

# … and it stands beside the digit, not over it: they share at most this much of the narrower one's width.
MAX_OVERLAP = 0.3

# Among this many components of at least this share of its area, the digit is a piece of noise, of a pattern or of a
# page. On pictures of one digit there are at most three, on crops of old forms ten.
CROWD_SIZE, MIN_CROWD_AREA = 16, 0.1

# A digit that is wider than high by more than this is several that touch. Single ones come to 1.75, such as a 5 with a
# long top stroke.
MAX_ASPECT_RATIO = 1.8


class Segmentation(NamedTuple):
    """One digit.

    Attributes:
        foreground: float32 (height, width), 0 (everything else) to 255.
        several: Whether there are several digits, of which this is one.
    """

    foreground: Float32Image
    several: bool


def segment(foreground: UInt8Image, min_deviations: float = MIN_DEVIATIONS) -> Segmentation | None:
    """Keep the digit and empty everything else.

    What is strong, over Otsu's threshold, tells which components can be part of the digit. What fades out of them
    stays, and so do their soft edges, so that grey levels come through.

    Args:
        foreground: uint8 (height, width), 0 (background) to 255, as ``background.remove_background`` gives it.
        min_deviations: How many standard deviations of the grain a digit differs from it at least.

    Returns:
        The digit. None where there is nothing but grain.
    """
    occurrences = histogram(foreground)
    darkest = int(foreground.max())
    split = _split(occurrences, otsu_threshold(occurrences))
    tiny = not split.has_strokes(min_deviations)
    if tiny:  # or blank
        split = _split(occurrences, (split.grain + darkest) // 2)
        if not split.has_strokes(MIN_TINY_DEVIATIONS):
            return None
    soft = min(split.grain + max(GRAIN_DEVIATIONS * split.deviation, MIN_EDGE_LEVEL * darkest), split.threshold)
    stroke = foreground > soft + FADED_LEVEL * (split.threshold - soft)
    near_stroke = maximum_filter(stroke, _edge_window(foreground))
    mask = remove_ruled_lines(foreground > soft, foreground > split.threshold) & near_stroke
    components = find_components(mask)
    levels = components.maximum(foreground)
    candidates = _without_shadows(components, _without_frames(components, levels > split.threshold), levels)
    digit = _digit(components, candidates)
    if tiny and max(_extent(components, digit)) < MIN_TINY_SIDE:
        return None
    found = np.where(components.mask(digit), np.maximum(foreground - np.float32(split.grain), 0), 0)
    clean = remove_stains(found.astype(np.uint8))
    if clean is not None:
        return segment(clean)
    return Segmentation(found, _has_company(components, digit, candidates & ~digit))


@dataclass(frozen=True)
class _Split:
    """A threshold between background and strokes, and what it divides.

    Attributes:
        threshold: The highest level of the background.
        grain: The median of the background.
        deviation: Its standard deviation, estimated by the median absolute deviation.
        contrast: How much darker the strokes are on average; 0 where there are none.
    """

    threshold: int
    grain: int
    deviation: float
    contrast: float

    def has_strokes(self, min_deviations: float) -> bool:
        """Whether what is over the threshold differs enough from the grain."""
        return self.contrast >= max(MIN_STROKE_CONTRAST, min_deviations * self.deviation)


def _split(occurrences: Histogram, threshold: int) -> _Split:
    background, strokes = occurrences[: threshold + 1], occurrences[threshold + 1 :]
    grain = quantile(background, 0.5)
    distances = np.bincount(np.abs(np.arange(threshold + 1) - grain), background)
    deviation = DEVIATIONS_PER_MAD * quantile(distances, 0.5)
    contrast = threshold + 1 + mean_level(strokes) - mean_level(background) if strokes.any() else 0.0
    return _Split(threshold, grain, deviation, contrast)


def remove_stains(foreground: UInt8Image) -> UInt8Image | None:
    """Remove what is far fainter than the rest and no soft edge of it.

    That is stains, what shines through the paper, and squares that hang together with the digit.

    Args:
        foreground: uint8 (height, width), 0 for the background.

    Returns:
        uint8 (height, width). None where there is little to remove, or it may be a pen that runs dry.
    """
    occurrences = histogram(foreground)
    occurrences[0] = 0
    threshold = otsu_threshold(occurrences)
    faint, strong = occurrences[: threshold + 1], occurrences[threshold + 1 :]
    if not (faint.any() and strong.any()) or threshold + 1 + mean_level(strong) < STAIN_RATIO * mean_level(faint):
        return None
    near_strong = maximum_filter(foreground > threshold, _edge_window(foreground))
    stained = np.count_nonzero(foreground) - np.count_nonzero(near_strong & (foreground > 0))
    min_area = STAIN_AREA if _separation(occurrences, threshold) >= STAIN_SEPARATION else LARGE_STAIN_AREA
    return np.where(near_strong, foreground, np.uint8(0)) if stained >= min_area * strong.sum() else None


def _separation(occurrences: Histogram, threshold: int) -> float:
    """The share of the variance that lies between the two classes, Otsu's own measure. It is 0.75 for even values."""
    levels = np.arange(256)
    mean = occurrences @ levels / occurrences.sum()
    within = 0.0
    for part, start in ((occurrences[: threshold + 1], 0), (occurrences[threshold + 1 :], threshold + 1)):
        values = np.arange(start, start + len(part))
        within += part @ (values - part @ values / part.sum()) ** 2
    return float(1 - within / (occurrences @ (levels - mean) ** 2))


def _edge_window(foreground: UInt8Image) -> int:
    """A window that takes in the soft edges of strokes, in pixels."""
    return 2 * max(MIN_EDGE_PIXELS, round(EDGE_WIDTH * int(max(foreground.shape)))) + 1


def _without_frames(components: Components, candidates: Mask) -> Mask:
    """Those of the candidates, bool (n,), that are no box or ring around another one, as forms and lists have them."""
    heights, widths = components.height, components.width
    longer = np.where(candidates, np.maximum(heights, widths), 0)
    result = candidates.copy()
    hollow = np.minimum(heights, widths) > MIN_FRAME_SIDE
    hollow &= components.area <= MAX_FRAME_FILL * heights * widths
    for frame in np.flatnonzero(candidates & hollow):
        framed = (components.top > components.top[frame]) & (components.bottom < components.bottom[frame])
        framed &= (components.left > components.left[frame]) & (components.right < components.right[frame])
        framed &= longer >= MIN_FRAMED_SIDE * min(heights[frame], widths[frame])
        if framed.any() and _surrounds(components, int(frame), int(np.where(framed, longer, 0).argmax())):
            result[frame] = False
    return result


def _surrounds(components: Components, frame: int, framed: int) -> bool:
    """Whether one component lies all around another, nowhere in its bounding box, and is no 0 with a stroke in it."""
    mask = components.mask(np.arange(len(components)) == frame)
    rows = slice(components.top[framed], components.bottom[framed])
    columns = slice(components.left[framed], components.right[framed])
    if mask[rows, columns].any():
        return False
    left, right = mask[rows, : columns.start].any(axis=1), mask[rows, columns.stop :].any(axis=1)
    above, below = mask[: rows.start, columns].any(axis=0), mask[rows.stop :, columns].any(axis=0)
    if min(side.mean() for side in (left, right, above, below)) < MIN_SURROUNDED:
        return False
    box = mask[
        components.top[frame] : components.bottom[frame],
        components.left[frame] : components.right[frame],
    ]
    height, width = box.shape
    y, x = max(2, height // 10), max(2, width // 10)
    corners = (box[:y, :x], box[:y, -x:], box[-y:, :x], box[-y:, -x:])
    return width >= MIN_RING_WIDTH * height or all(corner.any() for corner in corners)


def _without_shadows(components: Components, candidates: Mask, levels: NDArray[np.int64]) -> Mask:
    """Those of the candidates, bool (n,), that are no shadows: bulky, and fainter than a stroke that is as long.

    Args:
        components: All n of them.
        candidates: bool (n,).
        levels: int64 (n,), the darkest level of each.
    """
    heights, widths = components.height, components.width
    min_side = MIN_SHADOW_SIDE * max(components.shape)
    strokes = candidates & (np.maximum(heights, widths) >= min_side)
    if not strokes.any():
        return candidates
    bulky = np.minimum(heights, widths) >= min_side
    bulky &= components.area >= MIN_SHADOW_FILL * heights * widths
    fainter = levels < MAX_SHADOW_LEVEL * levels[strokes].max()
    result: Mask = candidates & ~(bulky & fainter)
    return result


def _digit(components: Components, candidates: Mask) -> Mask:
    """Which components make up the digit, bool (n,): the main one, and those above or below it that are near.

    The main one is the largest, those in the middle and clear of the border before others.

    Args:
        components: All n of them.
        candidates: bool (n,), which may be part of it at all; at least one.
    """
    height, width = components.shape
    heights, widths = components.height, components.width
    y = (components.top + components.bottom) / height - 1
    x = (components.left + components.right) / width - 1
    off_centre = np.maximum(np.abs(y), np.abs(x))  # 0 in the middle, 1 at the edge
    along_border = np.minimum(2 * components.border_contact / (heights + widths), 1)
    weight = components.area * (1 - OFF_CENTRE_PENALTY * off_centre) * (1 - BORDER_PENALTY * along_border)
    main = int(np.where(candidates, weight, -1).argmax())

    shared = np.minimum(components.right, components.right[main]) - np.maximum(components.left, components.left[main])
    gap = np.maximum(components.top, components.top[main]) - np.minimum(components.bottom, components.bottom[main])
    near = shared >= MIN_SHARED_WIDTH * np.minimum(widths, widths[main])
    near &= gap < MAX_GAP * max(heights[main], widths[main])
    # Where the main one is whole, what the border cuts is something else.
    whole = (components.border_contact == 0) | (components.border_contact[main] > 0)
    large = components.area >= MIN_PART_AREA * components.area[main]
    result: Mask = candidates & near & whole & large
    return result


def _has_company(components: Components, digit: Mask, others: Mask) -> bool:
    """Whether there are several digits.

    There may be others beside the one that was found, several that touch and were taken for one, or a crowd. Where the
    digit is whole, one that the border cuts does not count: neighbours stay when a digit is cut out of a page.

    Args:
        components: All n of them.
        digit: bool (n,), which make up the digit; at least one.
        others: bool (n,), which may be another digit.
    """
    top, bottom = int(components.top[digit].min()), int(components.bottom[digit].max())
    left, right = int(components.left[digit].min()), int(components.right[digit].max())
    height, width = bottom - top, right - left
    crowd = np.count_nonzero(components.area >= MIN_CROWD_AREA * components.area[digit].max())
    if width > MAX_ASPECT_RATIO * height or crowd >= CROWD_SIZE:
        return True
    others = others & (components.height >= MIN_LINE_HEIGHT * height)  # few are left to look at closely
    if not others.any():
        return False
    tops, bottoms = components.top[others], components.bottom[others]
    lefts, rights = components.left[others], components.right[others]
    heights, widths = bottoms - tops, rights - lefts
    alike = height >= MIN_LINE_HEIGHT * heights
    shared_rows = np.minimum(bottoms, bottom) - np.maximum(tops, top)
    on_line = shared_rows >= MIN_LINE_HEIGHT * np.minimum(heights, height)
    shared_columns = np.minimum(rights, right) - np.maximum(lefts, left)
    beside = shared_columns <= MAX_OVERLAP * np.minimum(widths, width)
    whole = (components.border_contact[others] == 0) | components.border_contact[digit].any()
    return bool((alike & on_line & beside & whole).any())


def _extent(components: Components, chosen: Mask) -> tuple[int, int]:
    """Height and width of these components together."""
    height = components.bottom[chosen].max() - components.top[chosen].min()
    return int(height), int(components.right[chosen].max() - components.left[chosen].min())
