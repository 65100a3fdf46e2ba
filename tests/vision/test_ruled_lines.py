"""The printed lines of paper, taken away from under a digit."""

import numpy as np

from app.vision.ruled_lines import remove_ruled_lines
from tests.support.pictures import distance, image_of, page, photo, rule


def test_ruled_paper() -> None:
    for digit in range(10):
        clean = page(digit, (400, 400), height=0.4)
        expected = image_of(photo(clean))
        for lines in ((40, 2, 0.7, 0.0), (70, 3, 0.35, 0.02), (90, 4, 0.25, -0.02)):
            assert distance(image_of(photo(rule(clean, *lines))), expected) < 9, (digit, lines)


def test_squared_paper() -> None:
    for digit in range(10):
        clean = page(digit, (400, 400), height=0.4)
        squared = rule(rule(clean, 40, 2, 0.7, 0.015).T, 40, 2, 0.7, -0.015).T
        assert distance(image_of(photo(squared)), image_of(photo(clean))) < 11, digit


def test_lines_that_are_the_digit_stay() -> None:
    """An upright 1 from edge to edge of a tight crop is all that there is."""
    mask = np.zeros((100, 100), bool)
    mask[:, 49:51] = True
    assert remove_ruled_lines(mask, mask).sum() == 200
    mask[30:60, 10:90] = True
    kept = remove_ruled_lines(mask, mask)
    assert kept[30:60, 10:90].all()
    assert not kept[:30].any()
    assert not kept[60:].any()
