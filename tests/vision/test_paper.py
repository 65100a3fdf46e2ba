"""Digits on the paper that people have: each drawn here, each to be read as if it were alone on a clean page."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from app.vision.digit import without_stains
from app.vision.read import read
from app.vision.rules import without_rules
from tests.samples import draw, encode
from tests.vision.test_read import distance, read_array

Page = NDArray[np.float64]  # brightness, 0 to 1


def page(digit: int, size: tuple[int, int] = (280, 280), width: float = 0.07, height: float = 0.6) -> Page:
    """Dark grey on light grey, off white and black as on paper."""
    return np.asarray(draw(digit, size, 235, 50, width, "L", height)) / 255


def photo(brightness: Page, noise: float = 0.012) -> NDArray[np.uint8]:
    grain = np.random.default_rng(0).normal(0, noise, brightness.shape)
    return np.rint(((brightness + grain) * 255).clip(0, 255)).astype(np.uint8)


def lines(page: Page, step: int, thick: int, level: float, tilt: float) -> Page:
    """The page with level lines, as if printed before it was written on."""
    y, x = np.mgrid[: page.shape[0], : page.shape[1]]
    return np.where((y + tilt * x + 11) % step < thick, np.minimum(page, level), page)


@pytest.mark.parametrize("digit", range(10))
@pytest.mark.parametrize(
    ("step", "thick", "level", "tilt"), [(40, 2, 0.7, 0.0), (70, 3, 0.35, 0.02), (90, 4, 0.25, -0.02)]
)
def test_ruled_paper(digit: int, step: int, thick: int, level: float, tilt: float) -> None:
    ruled = lines(page(digit, (400, 400), height=0.4), step, thick, level, tilt)
    assert distance(read_array(photo(ruled)), read_array(photo(page(digit, (400, 400), height=0.4)))) < 9


@pytest.mark.parametrize("digit", range(10))
def test_squared_paper(digit: int) -> None:
    clean = page(digit, (400, 400), height=0.4)
    squared = lines(lines(clean, 40, 2, 0.7, 0.015).T, 40, 2, 0.7, -0.015).T
    assert distance(read_array(photo(squared)), read_array(photo(clean))) < 11


def test_lines_that_are_the_digit_stay() -> None:
    """An upright 1 from edge to edge of a tight crop is all that there is."""
    mask = np.zeros((100, 100), bool)
    mask[:, 49:51] = True
    assert without_rules(mask, mask).sum() == 200
    mask[30:60, 10:90] = True
    kept = without_rules(mask, mask)
    assert kept[30:60, 10:90].all()
    assert not kept[:30].any()
    assert not kept[60:].any()


@pytest.mark.parametrize("angle", range(0, 360, 45))
def test_a_deep_shadow_over_most_of_the_page(angle: int) -> None:
    """The lit part departs further from what the border mostly shows than the ink does."""
    clean = page(3, (400, 300), height=0.4)
    y, x = np.mgrid[-1:1:300j, -1:1:400j]
    lit = 1 / (1 + np.exp((0.55 - x * np.cos(np.deg2rad(angle)) - y * np.sin(np.deg2rad(angle))) * 40))
    assert distance(read_array(photo(clean * (0.45 + 0.55 * lit))), read_array(photo(clean))) < 9


@pytest.mark.parametrize("digit", [1, 2, 7, 9])
@pytest.mark.parametrize("inverted", [False, True])
def test_a_thick_marker_that_fills_the_picture(digit: int, inverted: bool) -> None:
    """Strokes of a fifth of the picture are ink all through, not the outline of a dark patch of paper."""
    picture = np.asarray(draw(digit, (160, 160), 235, 50, 0.2, "L", 0.7))
    ink = picture < 128
    image = read_array(255 - picture if inverted else picture)
    assert (image > 180).mean() > 0.5 * ink.mean() * (20 / 28) ** 2
    assert np.median(image[image > 60]) > 180


@pytest.mark.parametrize("digit", [0, 3, 6, 8])
def test_parts_of_neighbours_are_left_out(digit: int) -> None:
    clean = page(digit, (200, 200), 0.06)
    neighbours = np.roll(page(9, (200, 200), 0.06), -95, 1)[:, :40], np.roll(page(2, (200, 200), 0.06), 95, 1)[:, -35:]
    crop = clean.copy()
    crop[:, :40], crop[:, -35:] = np.minimum(crop[:, :40], neighbours[0]), np.minimum(crop[:, -35:], neighbours[1])
    assert (crop != clean).sum() > 300
    assert distance(read_array(photo(crop)), read_array(photo(clean))) < 4


def test_the_dark_frame_of_a_scan_is_left_out() -> None:
    clean = page(5, (220, 220), height=0.45)
    framed = clean.copy()
    framed[:9] = framed[:, :7] = 0.15
    assert distance(read_array(photo(framed)), read_array(photo(clean))) < 4


def test_a_dirty_border_is_left_out() -> None:
    clean = page(2, (220, 220), height=0.5)
    dirty = clean.copy()
    dirty[:6, 20:90] = dirty[-12:, 150:170] = dirty[40:110, -5:] = 0.2
    assert distance(read_array(photo(dirty)), read_array(photo(clean))) < 4


@pytest.mark.parametrize("digit", [0, 2, 3, 6])
def test_a_stroke_that_fades(digit: int) -> None:
    """A pen that runs dry: the foot has a third of the head's ink."""
    clean = page(digit, (230, 230))
    share = np.linspace(1.4, 0.1, 230).clip(0.3, 1)[:, None]
    image = read_array(photo(clean * share + 0.92 * (1 - share)))
    rows = np.flatnonzero(read_array(photo(clean)).any(1))
    faded = np.flatnonzero((image > 20).any(1))
    assert abs(int(np.ptp(faded)) - int(np.ptp(rows))) <= 2


def test_a_loose_bar_of_a_five_stays() -> None:
    picture = draw(5, (280, 280), 235, 50, 0.05, "L")
    ImageDraw.Draw(picture).rectangle((60, 78, 280, 88), fill=235)  # a gap between the bar and the rest
    rows = np.flatnonzero(read_array(picture).any(1))
    body = np.asarray(picture)[89:]
    assert np.ptp(rows) == 19
    assert distance(read_array(picture), read_array(np.pad(body, ((60, 0), (0, 0)), constant_values=235))) > 10


@pytest.mark.parametrize("digit", range(10))
def test_a_digit_that_touches_the_edge(digit: int) -> None:
    clean = page(digit, (280, 280))
    rows, columns = np.flatnonzero((clean < 0.5).any(1)), np.flatnonzero((clean < 0.5).any(0))
    for crop in (clean[rows[0] :], clean[: rows[-1] + 1], clean[:, columns[0] :], clean[:, : columns[-1] + 1]):
        assert distance(read_array(photo(crop)), read_array(photo(clean))) < 6


@pytest.mark.parametrize("digit", range(10))
def test_a_light_digit_on_a_dark_plate(digit: int) -> None:
    plate = np.full((280, 280), 0.9)
    plate[60:220, 80:200] = 1 - page(digit, (120, 160), 0.09)
    assert distance(read_array(photo(plate)), read_array(photo(page(digit, (120, 160), 0.09)))) < 6


def test_a_rectangular_nought_is_no_plate() -> None:
    nought = np.full((280, 280), 0.9)
    nought[60:220, 90:190] = 0.1
    nought[88:192, 118:162] = 0.9
    assert read_array(photo(nought))[12:16, 13:15].max() < 60


@pytest.mark.parametrize("digit", range(10))
def test_a_small_digit_in_a_large_photo(digit: int) -> None:
    """A twentieth of the picture's width, and nearly as sharp as when it is cut out."""
    clean = page(digit, (160, 160), 0.06, 0.5)
    large = np.full((1200, 1600), 235 / 255)
    large[700:860, 300:460] = clean
    light = 0.8 + 0.2 * np.linspace(0, 1, 1600)
    assert distance(read_array(photo(large * light)), read_array(photo(clean))) < 9


@pytest.mark.parametrize("level", [242, 238, 230])
def test_very_faint_ink_on_a_clean_ground(level: int) -> None:
    picture = np.asarray(draw(3, ink=(level, level, level), mode="RGB"))
    assert distance(read_array(picture), read_array(draw(3))) < 4


@pytest.mark.parametrize("size", [(28, 28), (60, 60), (280, 280), (600, 600)])
def test_noise_alone_never_breaks(size: tuple[int, int]) -> None:
    for seed in range(3):
        noise = np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8)
        assert read(encode(Image.fromarray(noise)), 10**6).image.shape == (28, 28)


@pytest.mark.parametrize("digit", range(10))
def test_a_tiny_digit_in_a_large_photo(digit: int) -> None:
    """A fortieth of the picture's width in strokes of three pixels: too few to be seen among the paper's grain."""
    large = np.full((900, 1200), 0.9)
    clean = page(digit, (80, 80), 0.04, 0.45)
    large[500:580, 260:340] = clean
    assert distance(read_array(photo(large * (0.85 + 0.15 * np.linspace(0, 1, 1200)))), read_array(photo(clean))) < 12


def test_a_speck_is_no_tiny_digit() -> None:
    large = np.full((900, 1200), 0.9)
    large[500:504, 260:264] = 0.2
    assert read(encode(photo(large)), 10**7).reason == "blank"


def frame(page: Page, rounded: bool, inset: int = 30, tilt: float = 0.0) -> Page:
    """The page with a box or a ring of thin lines around its middle."""
    picture = Image.new("L", page.shape[::-1])
    place = (inset, inset, page.shape[1] - inset, page.shape[0] - inset)
    pen = ImageDraw.Draw(picture)
    pen.ellipse(place, outline=255, width=3) if rounded else pen.rectangle(place, outline=255, width=3)
    turned = np.asarray(picture.rotate(tilt, Image.Resampling.BILINEAR)) / 255
    return np.minimum(page, 1 - 0.75 * turned)


@pytest.mark.parametrize("digit", range(10))
@pytest.mark.parametrize(("rounded", "tilt"), [(False, 0), (False, 3), (True, 0)])
def test_a_box_or_a_ring_around_it_is_left_out(digit: int, rounded: bool, tilt: float) -> None:
    clean = page(digit, height=0.4)
    assert distance(read_array(photo(frame(clean, rounded, tilt=tilt))), read_array(photo(clean))) < 4


def test_a_nought_with_something_in_it_stays() -> None:
    """A slashed or dotted 0 is narrower than a ring; what is in a wide one is small."""
    for mark in ((130, 150, 120, 160), (136, 144, 136, 144)):
        clean = page(0)
        clean[mark[2] : mark[3], mark[0] : mark[1]] = 0.2
        assert distance(read_array(photo(clean)), read_array(photo(page(0)))) < 20
        assert read_array(photo(clean))[:, :12].max() > 150


@pytest.mark.parametrize("digit", range(10))
@pytest.mark.parametrize("place", [(60, 190), (3, 270), (238, 90)])
def test_a_sheet_on_a_dark_table(digit: int, place: tuple[int, int]) -> None:
    table = np.full((600, 600), 0.3)
    clean = page(digit, (360, 330), height=0.5) * (0.9 + 0.1 * np.linspace(0, 1, 360))
    table[place[0] : place[0] + 330, place[1] : place[1] + 360][:, : 600 - place[1]] = clean[:, : 600 - place[1]]
    assert distance(read_array(photo(table, 0.03)), read_array(photo(clean, 0.03))) < 7


@pytest.mark.parametrize("digit", range(10))
@pytest.mark.parametrize("edge", [0.45, 0.55])
def test_the_sharp_edge_of_a_shadow_across_it(digit: int, edge: float) -> None:
    clean = page(digit, (400, 300), height=0.5)
    shaded = clean * np.where(np.arange(400) < edge * 400, 1, 0.45)
    assert distance(read_array(photo(shaded, 0.004)), read_array(photo(clean))) < 7


def test_what_hangs_together_with_it_is_told_by_its_ink() -> None:
    """Squares and stains are faint, and of one tone; a pen that runs dry is left alone."""
    digit = 255 - np.asarray(draw(4, (160, 160), 255, 55, 0.03, "L", 0.3))
    y, x = np.mgrid[:160, :160]
    squares = np.where((y % 12 < 2) | (x % 12 < 2), 45, 0).astype(np.uint8)
    clear = without_stains(np.maximum(digit, squares))
    assert clear is not None
    far = np.asarray(Image.fromarray(digit).filter(ImageFilter.MaxFilter(9))) == 0
    assert not clear[far].any()
    assert np.array_equal(clear[digit > 0], digit[digit > 0])
    dry = (digit * np.linspace(1, 0.15, 160)[:, None]).astype(np.uint8)
    assert without_stains(dry) is None
    assert without_stains(digit) is None
    stain = np.where(np.hypot(y - 70, x - 70) < 16, 45, 0).astype(np.uint8)
    without = without_stains(np.maximum(digit, stain))
    assert without is not None
    assert not without[far].any()
    speck = np.where(np.hypot(y - 70, x - 70) < 3, 45, 0).astype(np.uint8)
    assert without_stains(np.maximum(digit, speck)) is None


@pytest.mark.parametrize("digit", [1, 2, 4, 5, 7])
def test_what_shines_through_from_the_other_side(digit: int) -> None:
    clean = page(digit, (280, 280), 0.07, 0.5)
    other = 1 - 0.2 * (1 - np.roll(page(digit, (280, 280), 0.08, 0.5)[:, ::-1], (20, 30), (0, 1)))
    assert distance(read_array(photo(clean * other)), read_array(photo(clean))) < 9


@pytest.mark.parametrize("digit", range(10))
def test_the_shadow_of_a_hand_is_not_taken_for_it(digit: int) -> None:
    clean = page(digit, (400, 300), 0.05, 0.35)
    y, x = np.mgrid[:300, :400]
    shaded = clean * (1 - 0.4 * np.clip((60 - np.hypot(y - 150, x - 80)) / 8 + 0.5, 0, 1))
    assert distance(read_array(photo(shaded)), read_array(photo(clean))) < 6
