"""Several digits on one picture, and what only looks like it."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.inference.rejection import RejectionReason
from app.vision.read import read
from tests.samples import draw, encode, handwritten
from tests.vision.test_paper import page, photo
from training.data import Digits

LIMIT = 25_000_000


def reason(picture: Image.Image | NDArray[np.uint8], kind: str = "PNG") -> RejectionReason | None:
    return read(encode(picture, kind), LIMIT).reason


def row(*digits: int, pitch: int = 150, side: int = 280) -> NDArray[np.uint8]:
    """The digits side by side, dark on light, each so many pixels from the one before."""
    paper = np.full((side, side + pitch * (len(digits) - 1)), 255, np.uint8)
    for number, digit in enumerate(digits):
        place = paper[:, number * pitch : number * pitch + side]
        np.minimum(place, np.asarray(draw(digit, (side, side), mode="L")), out=place)
    return paper


def tight(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Cut where the ink ends."""
    rows, columns = np.flatnonzero((picture < 128).any(1)), np.flatnonzero((picture < 128).any(0))
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@pytest.mark.parametrize("digits", [(3, 7), (1, 0), (1, 1), (2, 0, 2, 6), (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)])
def test_digits_in_a_row(digits: tuple[int, ...]) -> None:
    picture = row(*digits)
    assert reason(picture) == "several_digits"
    assert reason(255 - picture) == "several_digits"
    assert reason(photo(picture / 255 * 0.9), "JPEG") == "several_digits"


@pytest.mark.parametrize("digits", [(1, 1), (1, 0), (2, 4)])
def test_two_on_28x28_light_pixels(digits: tuple[int, int]) -> None:
    small = Image.fromarray(row(*digits)).resize((28, 28), Image.Resampling.BOX)
    assert reason(small) == "several_digits"


@pytest.mark.parametrize("digits", [(2, 0), (4, 7, 6), (8, 2, 0, 3)])
def test_cut_out_where_the_ink_ends(digits: tuple[int, ...]) -> None:
    """All touch the border."""
    assert reason(tight(row(*digits))) == "several_digits"


def test_small_in_a_large_picture() -> None:
    large = np.full((1200, 1600), 255, np.uint8)
    large[500:780, 300:730] = row(4, 7)
    assert reason(large) == "several_digits"


def test_digits_that_touch() -> None:
    """Told by their width alone, and so from about three on."""
    picture = row(0, 0, 0, pitch=115)
    assert reason(picture) == "several_digits"


@pytest.mark.parametrize("digit", range(10))
@pytest.mark.parametrize("width", [0.03, 0.07, 0.12])
def test_one_digit_is_one(digit: int, width: float) -> None:
    picture = np.asarray(draw(digit, (280, 280), width=width, mode="L"))
    assert reason(picture) is None
    assert reason(tight(picture)) is None
    assert reason(photo(page(digit, (400, 300)))) is None


def test_neighbours_that_the_border_cuts_are_none() -> None:
    """As when one digit was cut out of a page: the one in the middle is read."""
    whole = row(8, 5, 8)
    assert reason(whole) == "several_digits"
    assert reason(whole[:, 155:425]) is None


def test_what_lies_above_or_below_is_none() -> None:
    """A line of print, a part of the digit, a rule."""
    picture = row(5)
    picture[60:70] = 255  # the bar of the 5 comes off
    assert reason(picture) is None
    picture[255:265, 20:260] = 0
    assert reason(picture) is None
    for x in range(20, 260, 16):
        picture[8:20, x : x + 10] = 0
    assert reason(picture) is None


def test_small_things_beside_a_digit_are_none() -> None:
    picture = row(5)
    picture[200:224, 220:232] = 0  # a full stop
    picture[110:120, 10:50] = 0  # a dash
    assert reason(picture) is None


@pytest.mark.parametrize(("side", "block", "share"), [(56, 2, 0.15), (112, 1, 0.05), (112, 4, 0.15), (280, 10, 0.1)])
def test_a_piece_of_a_crowd_is_no_single_digit(side: int, block: int, share: float) -> None:
    """Of noise, a pattern, a page: one clump alone would be a 1 to anybody."""
    for seed in range(10):
        blocks = np.random.default_rng(seed).random((side // block, side // block)) < share
        assert reason(np.kron(np.where(blocks, 0, 255), np.ones((block, block))).astype(np.uint8)) == "several_digits"


def test_specks_around_a_digit_are_none() -> None:
    picture, random = row(5), np.random.default_rng(7)
    for y, x in random.integers(0, 274, (60, 2)):
        picture[y : y + 6, x : x + 6] = 0
    assert reason(picture) is None


def test_what_the_network_gets_unchanged_is_left_to_it() -> None:
    random = np.random.default_rng(3)
    one, other = handwritten(1, random), handwritten(0, random)
    both = np.concatenate([one[:, 7:21], other[:, 7:21]], axis=1)
    assert np.array_equal(read(encode(both), LIMIT).image, both)
    assert reason(both) is None


def test_all_of_mnist_is_single(mnist: Digits) -> None:
    """As it is, and as dark ink on a large light page; there a few that are very broad are not."""
    images = mnist.test.images[::10]
    assert [reason(image) for image in images] == [None] * len(images)
    pages = [Image.fromarray(255 - np.pad(image, 8)).resize((220, 220), Image.Resampling.BICUBIC) for image in images]
    assert sum(reason(picture) is not None for picture in pages) <= len(pages) / 200
