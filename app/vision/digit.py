"""An ink map to the 28x28 image that the network reads, made the way MNIST was made."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import BlankImage
from app.vision.components import Components, components
from app.vision.ink import FAINTEST, Grey, Levels, counts, quantile, running_most
from app.vision.rules import without_rules

SIDE, BOX = 28, 20

BLANK = "the image is blank; send one with a digit on it"

# Ink this many standard deviations over the paper's grain is no grain.
SPREADS = 4

# Grey levels under this share of the darkest ink are not the soft edge of a stroke but what JPEG leaves beside it.
FAINT_EDGE = 0.02

# Ink that is on average less than this many standard deviations darker than its paper is grain: grain parted at its
# middle gives 2.7, as its lower half has the smaller deviation.
GRAINIEST = 4

# Otsu's level parts the paper's own grain where so little is inked that it does not count: a digit that is tiny in a
# photograph. Then the ink is what is over half of the darkest, if it is that many standard deviations darker than its
# paper, and it has this many pixels one way.
CLEAREST, SMALLEST = 12, 3

# Ink from here on, as a share of the way from what is no grain to what is strong, is part of a stroke, however far
# from strong ink: pens fade.
FADED = 0.3

# The soft edge of a stroke is at most this wide, as a share of the picture's longer side, but 2 pixels at least.
EDGE_WIDTH = 0.015

# A part smaller than this share of the digit's main part is a speck; strokes that make a digit another digit, such
# as the bar of a 5 or 7, are larger.
SPECK = 0.02

# A part at the very edge of the picture counts for this much less than one in the middle.
OFF_CENTRE = 0.75

# A part that lies along the picture's border for half as far as it is wide and high together, the frame of a scan or
# a neighbour cut in two, counts for this much less than one that does not touch it.
ALONG_BORDER = 0.9

# A part is a frame around another when that one is this large beside its shorter side, when it is on all four sides of
# it for this much of its length; it fills its own box by no more than this, and it is rectangular or as wide as this
# beside its height: a 0 is narrower.
FRAMED, SURROUNDED, HOLLOW, ROUND = 0.3, 0.9, 0.35, 0.8

# A part is bulky when its shorter side is this much of the picture's longer one and it fills its box this much; then it
# is a shadow where its darkest ink is this much fainter than that of a stroke.
BULKY, FILLED, FAINTER = 0.12, 0.5, 0.7

# What is this many times weaker than the rest was not written with the same pen where there is this much of it beside
# the rest and levels between the two are rare; or far more of it, as of squares all over the page.
STAINED, STAINS, PARTED, FAR_MORE_STAINS = 3.2, 0.3, 0.91, 2

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


# A sheet of paper on a table: it has this share of the picture, at most this share of the picture's border is as light
# as it, it is this much lighter than the rest (of 255), and all but this much of it is empty.
SMALLEST_SHEET, SHEET_RING, SHEET_CONTRAST, SHEET_FILLED = 0.12, 0.5, 60, 0.75

# A box of ink is a plate with a digit cut out of it when it has room for one (in pixels), this much of its outline is
# ink, and this much of all of it: a plain bar is fuller.
SMALLEST_PLATE = 10
PLATE_OUTLINE, PLATE_FILLED, PLATE_FULL = 0.85, 0.5, 0.97

# The hole of a rectangular 0 is a box itself, wider than a 1 on a plate.
HOLE_FILLED, HOLE_WIDTH = 0.85, 0.35


def isolate(ink: Levels, grainiest: float = GRAINIEST) -> tuple[Grey, bool]:
    """Keep the digit's ink and empty everything else: float32 (height, width), 0 to 255. And whether there are several
    digits, of which this is one.

    Strong ink (over Otsu's threshold) says what can be part of the digit; what fades out of it stays, and the soft
    edges, so that grey levels come through. Raises BlankImage when there is no ink: none that is on average
    ``grainiest`` standard deviations of the paper darker than it.
    """
    occurrences = counts(ink)
    level = _level(occurrences, otsu(occurrences))
    tiny = not level.parts(grainiest)
    if tiny:  # or nothing at all
        level = _level(occurrences, (level.grain + int(ink.max())) // 2)
        if not level.parts(CLEAREST):
            raise BlankImage(BLANK)
    strong, grain, spread = level.strong, level.grain, level.spread
    soft = min(grain + max(SPREADS * spread, FAINT_EDGE * int(ink.max())), strong)
    stroked = ink > soft + FADED * (strong - soft)
    edged = running_most(stroked, _edge(ink))
    parts = components(without_rules(ink > soft, ink > strong) & edged)
    darkest = parts.most(ink)
    standing = without_shadows(parts, without_frames(parts, darkest > strong), darkest)
    belongs = belonging(parts, standing)
    if tiny and max(_extent(parts, belongs)) < SMALLEST:
        raise BlankImage(BLANK)
    found = np.where(parts.mask(belongs), np.maximum(ink - np.float32(grain), 0), 0)
    clear = without_stains(found.astype(np.uint8))
    return isolate(clear) if clear is not None else (found, has_company(parts, belongs, standing & ~belongs))


@dataclass(frozen=True)
class _Level:
    """A level that may part ink from paper, and what it parts.

    grain, spread: of the paper, median and spread (1.48 makes it a standard deviation where the grain is normal).
    contrast: how much darker the ink is on average.
    """

    strong: int
    grain: int
    spread: float
    contrast: float

    def parts(self, grainiest: float) -> bool:
        """Whether there is ink over it: darker than its paper by more than that many of its standard deviations."""
        return self.contrast >= max(FAINTEST, grainiest * self.spread)


def _level(occurrences: NDArray[np.int64], strong: int) -> _Level:
    paper, stroke = occurrences[: strong + 1], occurrences[strong + 1 :]
    grain = quantile(paper, 0.5)
    spread = 1.48 * quantile(np.bincount(np.abs(np.arange(strong + 1) - grain), paper), 0.5)
    contrast = strong + 1 + _mean(stroke) - _mean(paper) if stroke.any() else 0.0
    return _Level(strong, grain, spread, contrast)


def _extent(parts: Components, chosen: NDArray[np.bool_]) -> tuple[int, int]:
    """Height and width of these parts together."""
    height = parts.bottom[chosen].max() - parts.top[chosen].min()
    return int(height), int(parts.right[chosen].max() - parts.left[chosen].min())


def without_stains(ink: Levels) -> Levels | None:
    """The ink without what is far weaker than the rest and no soft edge of it: stains, what shines through, squares
    that hang together with the digit. None where there is little of that, or it may be a pen that runs dry.
    """
    occurrences = counts(ink)
    occurrences[0] = 0
    level = otsu(occurrences)
    weak, strong = occurrences[: level + 1], occurrences[level + 1 :]
    if not (weak.any() and strong.any()) or level + 1 + _mean(strong) < STAINED * _mean(weak):
        return None
    edged = running_most(ink > level, _edge(ink))
    stained = np.count_nonzero(ink) - np.count_nonzero(edged & (ink > 0))
    most = STAINS if _parted(occurrences, level) >= PARTED else FAR_MORE_STAINS
    return np.where(edged, ink, np.uint8(0)) if stained >= most * strong.sum() else None


def _parted(occurrences: NDArray[np.int64], level: int) -> float:
    """Which share of the variance a level takes away that parts values in two (Otsu's own measure): 0.75 where they
    are spread evenly.
    """
    levels = np.arange(256)
    total = occurrences.sum()
    mean = occurrences @ levels / total
    within = 0.0
    for part, start in ((occurrences[: level + 1], 0), (occurrences[level + 1 :], level + 1)):
        places = np.arange(start, start + len(part))
        within += part @ (places - part @ places / part.sum()) ** 2
    return float(1 - within / (occurrences @ (levels - mean) ** 2))


def _edge(ink: Levels) -> int:
    """A window that takes in the soft edges of strokes."""
    return 2 * max(2, round(EDGE_WIDTH * int(max(ink.shape)))) + 1


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


def plate(ink: Grey) -> tuple[slice, slice] | None:
    """Rows and columns of a filled box that has its digit in the colour of the paper; None where there is none."""
    inked = ink > 0
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    box = inked[place]
    if min(box.shape) < SMALLEST_PLATE:
        return None
    if not PLATE_FILLED < box.mean() < PLATE_FULL:
        return None
    if np.concatenate([box[0], box[-1], box[:, 0], box[:, -1]]).mean() < PLATE_OUTLINE:
        return None
    hole = ~box
    tall, wide = np.count_nonzero(hole.any(axis=1)), np.count_nonzero(hole.any(axis=0))
    is_nought = np.count_nonzero(hole) > HOLE_FILLED * tall * wide and wide > HOLE_WIDTH * box.shape[1]
    return None if is_nought else place


def sheet(brightness: Levels, small: Levels) -> tuple[slice, slice] | None:
    """Rows and columns of a light sheet of paper that lies on something dark; None where there is none.

    Looked for on the thumbnail, in the light as it is: what is made of it beside its surroundings depends on its size.
    """
    if max(brightness.shape) < max(small.shape):
        return None
    light = small > otsu(counts(small))
    ring = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
    if ring.mean() > SHEET_RING or light.mean() < SMALLEST_SHEET:
        return None
    parts = components(light)
    place = plate(parts.mask(parts.area == parts.area.max()).astype(np.float32))
    if place is None or any(side.stop - side.start == whole for side, whole in zip(place, small.shape, strict=True)):
        return None  # light from edge to edge is where no shadow falls
    if small[light].mean() - small[~light].mean() < SHEET_CONTRAST or light[place].mean() < SHEET_FILLED:
        return None
    scale = max(brightness.shape) / max(small.shape)
    rows, columns = ((side.start + 1, side.stop - 1) for side in place)  # its edges are half table
    return slice(*(round(row * scale) for row in rows)), slice(*(round(column * scale) for column in columns))


def _mean(occurrences: NDArray[np.int64]) -> float:
    return float(occurrences @ np.arange(len(occurrences))) / max(int(occurrences.sum()), 1)


def normalise(ink: Grey) -> NDArray[np.uint8]:
    """Box, size and place the ink as in MNIST: uint8 (28, 28).

    The steps are those that the QMNIST paper (Yadav and Bottou, 2019) reconstructed: pad the short side of
    the tight box to a square; area-resample to 20x20; scale so that the darkest ink is 255; paste so that
    the centre of mass, measured at pixel centres, lies in the middle.
    """
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = box.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    if side >= BOX:
        small = _area_shares(height, side, top) @ box @ _area_shares(width, side, left).T
    else:  # on the way up, averages of areas would only repeat pixels
        square = np.zeros((side, side), np.float32)
        square[top : top + height, left : left + width] = box
        small = np.asarray(Image.fromarray(square).resize((BOX, BOX), Image.Resampling.BICUBIC)).clip(0, None)
    small = small * (255 / small.max())
    mass = small.sum()
    centres = np.arange(BOX) + 0.5
    y = int(SIDE / 2 + 1 - float((small.sum(axis=1) @ centres) / mass))
    x = int(SIDE / 2 + 1 - float((small.sum(axis=0) @ centres) / mass))
    y, x = min(max(y, 0), SIDE - BOX), min(max(x, 0), SIDE - BOX)
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[y : y + BOX, x : x + BOX] = np.rint(small)
    return image


def _area_shares(count: int, side: int, offset: int) -> Grey:
    """(20, count) weights that average a row of ``side`` pixels down to 20, exactly by area.

    The row is empty but for ``count`` pixels from ``offset`` on. Pillow's box filter takes whole pixels whose
    centre lies in the window: between 20 and 60 pixels it skips some, and a thin stroke with them.
    """
    edges = np.linspace(0, side, BOX + 1)
    starts = np.arange(count) + offset
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    shares: Grey = (np.clip(overlap, 0, None) * (BOX / side)).astype(np.float32)
    return shares


def otsu(occurrences: NDArray[np.int64]) -> int:
    """The level that parts values into the two classes of least inner variance: not above it, above it (Otsu, 1979).

    occurrences: (256,), how often each level occurs.
    """
    levels = np.arange(256)
    below = np.cumsum(occurrences, dtype=np.float64)
    above = below[-1] - below
    sums = np.cumsum(occurrences * levels, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    between = np.nan_to_num(between)
    best = np.flatnonzero(between == between.max())
    return int(best.mean())  # the middle of an empty stretch, where many thresholds part alike
