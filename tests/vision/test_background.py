"""Uneven light: each digit is to be read as if it were on a clean and evenly lit page."""

import numpy as np
from PIL import Image

from app.vision.background import has_dark_background, make_thumbnail
from tests.support.images import draw, handwritten
from tests.support.pictures import distance, image_of, page, photo


def test_a_dark_background_is_told() -> None:
    light = np.asarray(draw(1, mode="L"))
    for brightness, dark in ((light, False), (255 - light, True)):
        assert has_dark_background(brightness, make_thumbnail(brightness)) == dark


def test_a_shadow_over_half_the_page() -> None:
    reference = image_of(draw(2))
    light = np.where(np.arange(280) < 140, 1.0, 0.45)
    light = np.convolve(np.pad(light, 40, mode="edge"), np.ones(81) / 81, mode="valid")
    shadowed = (np.asarray(draw(2, ground=(235, 230, 220), ink=(40, 40, 60))) * light[None, :, None]).astype(np.uint8)
    assert distance(image_of(shadowed), reference) < 8


def test_a_deep_shadow_over_most_of_the_page() -> None:
    """The lit part departs further from what the border mostly shows than the strokes do."""
    clean = page(3, (400, 300), height=0.4)
    expected = image_of(photo(clean))
    y, x = np.mgrid[-1:1:300j, -1:1:400j]
    for angle in range(0, 360, 45):
        lit = 1 / (1 + np.exp((0.55 - x * np.cos(np.deg2rad(angle)) - y * np.sin(np.deg2rad(angle))) * 40))
        assert distance(image_of(photo(clean * (0.45 + 0.55 * lit))), expected) < 9, angle


def test_the_sharp_edge_of_a_shadow_across_the_digit() -> None:
    for digit in range(10):
        clean = page(digit, (400, 300), height=0.5)
        expected = image_of(photo(clean))
        for edge in (0.45, 0.55):
            shaded = clean * np.where(np.arange(400) < edge * 400, 1, 0.45)
            assert distance(image_of(photo(shaded, 0.004)), expected) < 7, (digit, edge)


def test_a_thick_marker_that_fills_the_picture() -> None:
    """Strokes of a fifth of the picture are foreground all through, not the outline of a dark patch of paper."""
    for digit in (1, 2, 7, 9):
        picture = np.asarray(draw(digit, (160, 160), 235, 50, 0.2, "L", 0.7))
        area = (picture < 128).mean()
        for variant in (picture, 255 - picture):
            image = image_of(variant)
            assert (image > 180).mean() > 0.5 * area * (20 / 28) ** 2, digit
            assert np.median(image[image > 60]) > 180, digit


def test_a_stroke_that_fades() -> None:
    """A pen that runs dry: the foot has a third of the head's ink."""
    share = np.linspace(1.4, 0.1, 230).clip(0.3, 1)[:, None]
    for digit in (0, 2, 3, 6):
        clean = page(digit, (230, 230))
        image = image_of(photo(clean * share + 0.92 * (1 - share)))
        rows = np.flatnonzero(image_of(photo(clean)).any(1))
        faded = np.flatnonzero((image > 20).any(1))
        assert abs(int(np.ptp(faded)) - int(np.ptp(rows))) <= 2, digit


def test_a_28x28_digit_across_light_and_dark_bands() -> None:
    random = np.random.default_rng(3)
    for digit in range(10):
        image = handwritten(digit, random)
        for picture in (image, image.T):
            banded = picture.copy()
            banded[:, :9] = 255 - banded[:, :9]
            banded[:, 19:] = 255 - banded[:, 19:]
            upright = banded if picture is image else banded.T
            assert distance(image_of(upright), image) < 1, digit


def test_a_28x28_digit_in_fog_is_not_blank() -> None:
    """So few pixels do not tell a faint stroke from the grain beside it."""
    random, writer = np.random.default_rng(5), np.random.default_rng(3)
    for digit in range(10):
        image = handwritten(digit, writer)
        fog = np.asarray(Image.fromarray(random.integers(40, 100, (5, 5)).astype(np.uint8)).resize((28, 28), 3))
        foggy = fog + image * 0.4 + random.normal(0, 12, (28, 28))
        seen = image_of(np.clip(foggy, 0, 255).astype(np.uint8))
        assert seen[image > 128].mean() > seen[image == 0].mean() + 20, digit
