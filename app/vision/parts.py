"""Which of a picture's connected parts make up its digit, and which are something else."""

import numpy as np
from numpy.typing import NDArray

from app.vision.components import Components

# Pixels that a digit has at least one way.
SMALLEST = 3

# A part is a frame around another when that one is this large beside its shorter side, when it is on all four sides of
# it for this much of its length; it fills its own box by no more than this, and it is rectangular or as wide as this
# beside its height: a 0 is narrower.
FRAMED, SURROUNDED, HOLLOW, ROUND = 0.3, 0.9, 0.35, 0.8

# A part is bulky when its shorter side is this much of the picture's longer one and it fills its box this much; then it
# is a shadow where its darkest ink is this much fainter than that of a stroke.
BULKY, FILLED, FAINTER = 0.12, 0.5, 0.7

# A part smaller than this share of the digit's main part is a speck; strokes that make a digit another digit, such
# as the bar of a 5 or 7, are larger.
SPECK = 0.02

# A part at the very edge of the picture counts for this much less than one in the middle.
OFF_CENTRE = 0.75

# A part that lies along the picture's border for half as far as it is wide and high together, the frame of a scan or
# a neighbour cut in two, counts for this much less than one that does not touch it.
ALONG_BORDER = 0.9

# A part belongs to the main one when they share this much of the narrower one's width …
SHARED_WIDTH = 0.7

# … and the gap between them, from top to bottom, is less than this share of the main part's longer side.
GAP = 0.25

# A part is another digit on the same line when the lower of the two has at least this much of the taller one's height,
# and they share as much of its rows …
ALIKE = 0.7

# … and it stands beside the digit, not over it: they share at most this much of the narrower one's width.
OVERLAP = 0.3

# Among this many parts of at least this share of its size, a part is a piece of noise, of a pattern or of a page. On
# pictures of one digit there are at most three, on crops of old forms ten.
CROWD, MEMBER = 16, 0.1

# Wider than high by more than this are several digits that touch. Single ones come to 1.75: a 5 with a long top stroke.
WIDEST = 1.8


def without_frames(parts: Components, standing: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of the standing parts, (n,), that are no box or ring drawn around another, as forms and lists have them."""
    heights, widths = parts.bottom - parts.top, parts.right - parts.left
    longer = np.where(standing, np.maximum(heights, widths), 0)
    result = standing.copy()
    hollow = (np.minimum(heights, widths) > SMALLEST) & (parts.area <= HOLLOW * heights * widths)
    for frame in np.flatnonzero(standing & hollow):
        framed = (parts.top > parts.top[frame]) & (parts.bottom < parts.bottom[frame])
        framed &= (parts.left > parts.left[frame]) & (parts.right < parts.right[frame])
        framed &= longer >= FRAMED * min(heights[frame], widths[frame])
        if framed.any() and _surrounds(parts, int(frame), int(np.where(framed, longer, 0).argmax())):
            result[frame] = False
    return result


def _surrounds(parts: Components, frame: int, framed: int) -> bool:
    """Whether one part lies all around another and nowhere in its box, and is no 0 with a stroke in it."""
    mask = parts.mask(np.arange(len(parts.area)) == frame)
    rows, columns = slice(parts.top[framed], parts.bottom[framed]), slice(parts.left[framed], parts.right[framed])
    if mask[rows, columns].any():
        return False
    left, right = mask[rows, : columns.start].any(axis=1), mask[rows, columns.stop :].any(axis=1)
    above, below = mask[: rows.start, columns].any(axis=0), mask[rows.stop :, columns].any(axis=0)
    if min(side.mean() for side in (left, right, above, below)) < SURROUNDED:
        return False
    box = mask[parts.top[frame] : parts.bottom[frame], parts.left[frame] : parts.right[frame]]
    height, width = box.shape
    y, x = max(2, height // 10), max(2, width // 10)
    corners = (box[:y, :x], box[:y, -x:], box[-y:, :x], box[-y:, -x:])
    return width >= ROUND * height or all(corner.any() for corner in corners)


def without_shadows(parts: Components, standing: NDArray[np.bool_], darkest: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Those of the standing parts, (n,), that are no shadows: bulky, and fainter than a stroke that is as long.

    darkest: of each part, its darkest ink.
    """
    heights, widths = parts.bottom - parts.top, parts.right - parts.left
    large = BULKY * max(parts.shape)
    strokes = standing & (np.maximum(heights, widths) >= large)
    if not strokes.any():
        return standing
    bulky = (np.minimum(heights, widths) >= large) & (parts.area >= FILLED * heights * widths)
    fainter = darkest < FAINTER * darkest[strokes].max()
    result: NDArray[np.bool_] = standing & ~(bulky & fainter)
    return result


def belonging(parts: Components, strong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which parts make up the digit: the main one, and those above or below it that are near.

    The main one is the largest, those in the middle and clear of the border before others. strong: whether a part
    may belong at all; one at least does.
    """
    height, width = parts.shape
    heights, widths = parts.bottom - parts.top, parts.right - parts.left
    y, x = (parts.top + parts.bottom) / height - 1, (parts.left + parts.right) / width - 1
    off = np.maximum(np.abs(y), np.abs(x))  # 0 in the middle, 1 at the edge
    along = np.minimum(2 * parts.contact / (heights + widths), 1)
    weight = parts.area * (1 - OFF_CENTRE * off) * (1 - ALONG_BORDER * along)
    main = int(np.where(strong, weight, -1).argmax())

    shared = np.minimum(parts.right, parts.right[main]) - np.maximum(parts.left, parts.left[main])
    gap = np.maximum(parts.top, parts.top[main]) - np.minimum(parts.bottom, parts.bottom[main])
    near = (shared >= SHARED_WIDTH * np.minimum(widths, widths[main])) & (gap < GAP * max(heights[main], widths[main]))
    # Where the main part is whole, what the border cuts is something else.
    whole = (parts.contact == 0) | (parts.contact[main] > 0)
    result: NDArray[np.bool_] = strong & near & whole & (parts.area >= SPECK * parts.area[main])
    return result


def has_company(parts: Components, digit: NDArray[np.bool_], others: NDArray[np.bool_]) -> bool:
    """Whether there are several digits: others beside the one that was found, several that touch taken for one, or a
    crowd.

    digit, others: which parts make it up, one at least, and which may be another. Where the digit is whole, one that
    the border cuts is none: neighbours stay when a digit is cut out of a page.
    """
    top, bottom = int(parts.top[digit].min()), int(parts.bottom[digit].max())
    left, right = int(parts.left[digit].min()), int(parts.right[digit].max())
    height, width = bottom - top, right - left
    if width > WIDEST * height or np.count_nonzero(parts.area >= MEMBER * parts.area[digit].max()) >= CROWD:
        return True
    others = others & (parts.bottom - parts.top >= ALIKE * height)  # of many parts, few are left to look at closely
    if not others.any():
        return False
    tops, bottoms, lefts, rights = parts.top[others], parts.bottom[others], parts.left[others], parts.right[others]
    heights, widths = bottoms - tops, rights - lefts
    alike = height >= ALIKE * heights
    on_line = np.minimum(bottoms, bottom) - np.maximum(tops, top) >= ALIKE * np.minimum(heights, height)
    beside = np.minimum(rights, right) - np.maximum(lefts, left) <= OVERLAP * np.minimum(widths, width)
    whole = (parts.contact[others] == 0) | parts.contact[digit].any()
    return bool((alike & on_line & beside & whole).any())


def extent(parts: Components, chosen: NDArray[np.bool_]) -> tuple[int, int]:
    """Height and width of these parts together."""
    height = parts.bottom[chosen].max() - parts.top[chosen].min()
    return int(height), int(parts.right[chosen].max() - parts.left[chosen].min())
