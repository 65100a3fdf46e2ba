"""Digits on the paper that people have: each drawn here, each to be read as if it were alone on a clean page."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

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
