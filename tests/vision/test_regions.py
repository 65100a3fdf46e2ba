"""Digits on a sheet that lies on a table, and cut out of a plate."""

import numpy as np

from tests.support.pictures import distance, image_of, page, photo


def test_a_sheet_on_a_dark_table() -> None:
    for digit in range(10):
        clean = page(digit, (360, 330), height=0.5) * (0.9 + 0.1 * np.linspace(0, 1, 360))
        expected = image_of(photo(clean, 0.03))
        for top, left in ((60, 190), (3, 270), (238, 90)):
            table = np.full((600, 600), 0.3)
            table[top : top + 330, left : left + 360] = clean[:, : 600 - left]
            assert distance(image_of(photo(table, 0.03)), expected) < 7, (digit, top, left)


def test_a_light_digit_on_a_dark_plate() -> None:
    for digit in range(10):
        clean = page(digit, (120, 160), 0.09)
        plate = np.full((280, 280), 0.9)
        plate[60:220, 80:200] = 1 - clean
        assert distance(image_of(photo(plate)), image_of(photo(clean))) < 6, digit


def test_a_rectangular_nought_is_no_plate() -> None:
    nought = np.full((280, 280), 0.9)
    nought[60:220, 90:190] = 0.1
    nought[88:192, 118:162] = 0.9
    assert image_of(photo(nought))[12:16, 13:15].max() < 60
