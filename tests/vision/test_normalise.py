"""Sized and placed as in MNIST."""

import numpy as np

from app.vision.normalise import normalise
from tests.support.images import draw
from tests.support.pictures import image_of


def test_the_box_is_20_and_the_mass_is_in_the_middle() -> None:
    for digit in range(10):
        image = image_of(draw(digit, (300, 500), height=0.5))
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20, digit
        assert image.max() == 255, digit
        centres = np.arange(28) + 0.5
        for axis in (0, 1):
            centre = float(image.sum(axis=1 - axis) @ centres / image.sum())
            assert 14 <= centre <= 15, (digit, axis)


def test_foreground_that_touches_every_edge() -> None:
    image = normalise(np.full((50, 30), 255, np.float32))
    assert image.max() == 255
    assert image.any(1).sum() == 20


def test_areas_are_averaged_exactly() -> None:
    foreground = np.zeros((47, 47), np.float32)
    foreground[0] = foreground[-1] = 1  # so that the box is the whole
    foreground[:, 0] = foreground[:, -1] = 1
    for column in range(1, 46):
        marked = foreground.copy()
        marked[20, column] = 255
        assert normalise(marked).max() == 255, column


def test_a_stroke_of_one_pixel_is_never_lost() -> None:
    """Averaging that takes whole pixels skips some of a row of 21 to 60, and a thin stroke with them."""
    for size in (20, 21, 28, 33, 40, 47, 60, 100, 230):
        # Every column, but of large pictures, whose steps are small beside a pixel of the result.
        for column in range(1, size - 1, 1 + size // 50):
            page = np.full((size, size), 255, np.uint8)
            page[1 : size - 1, column] = 0
            image = image_of(page)
            assert np.ptp(np.flatnonzero(image.any(1))) == 19, (size, column)
            # All of the stroke, whichever pixels it falls on: the same profile everywhere.
            assert image.max() == 255, (size, column)
