"""The digit alone: what belongs to it, what is left out, and when there are several."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from app.inference.rejection import RejectionReason
from app.vision.segmentation import remove_stains
from tests.support.images import draw, handwritten
from tests.support.pictures import crop_tightly, distance, frame, image_of, page, photo, preprocessed, row
from training.data import Digits


def reason(picture: Image.Image | NDArray[np.uint8], kind: str = "PNG") -> RejectionReason | None:
    return preprocessed(picture, kind).reason


def test_parts_of_neighbours_are_left_out() -> None:
    nine, two = page(9, (200, 200), 0.06), page(2, (200, 200), 0.06)
    left, right = np.roll(nine, -95, 1)[:, :40], np.roll(two, 95, 1)[:, -35:]
    for digit in (0, 3, 6, 8):
        clean = page(digit, (200, 200), 0.06)
        crop = clean.copy()
        crop[:, :40], crop[:, -35:] = np.minimum(crop[:, :40], left), np.minimum(crop[:, -35:], right)
        assert (crop != clean).sum() > 300
        assert distance(image_of(photo(crop)), image_of(photo(clean))) < 4, digit


def test_the_dark_frame_of_a_scan_is_left_out() -> None:
    clean = page(5, (220, 220), height=0.45)
    framed = clean.copy()
    framed[:9] = framed[:, :7] = 0.15
    assert distance(image_of(photo(framed)), image_of(photo(clean))) < 4


def test_a_dirty_border_is_left_out() -> None:
    clean = page(2, (220, 220), height=0.5)
    dirty = clean.copy()
    dirty[:6, 20:90] = dirty[-12:, 150:170] = dirty[40:110, -5:] = 0.2
    assert distance(image_of(photo(dirty)), image_of(photo(clean))) < 4


def test_a_box_or_a_ring_around_it_is_left_out() -> None:
    for digit in range(10):
        clean = page(digit, height=0.4)
        expected = image_of(photo(clean))
        for rounded, tilt in ((False, 0), (False, 3), (True, 0)):
            assert distance(image_of(photo(frame(clean, rounded, tilt=tilt))), expected) < 4, (digit, rounded, tilt)


def test_a_nought_with_something_in_it_stays() -> None:
    """A slashed or dotted 0 is narrower than a ring; what is in a wide one is small."""
    for top, bottom, left, right in ((120, 160, 130, 150), (136, 144, 136, 144)):
        clean = page(0)
        clean[top:bottom, left:right] = 0.2
        assert distance(image_of(photo(clean)), image_of(photo(page(0)))) < 20
        assert image_of(photo(clean))[:, :12].max() > 150


def test_the_shadow_of_a_hand_is_not_taken_for_it() -> None:
    y, x = np.mgrid[:300, :400]
    shadow = 1 - 0.4 * np.clip((60 - np.hypot(y - 150, x - 80)) / 8 + 0.5, 0, 1)
    for digit in range(10):
        clean = page(digit, (400, 300), 0.05, 0.35)
        assert distance(image_of(photo(clean * shadow)), image_of(photo(clean))) < 6, digit


def test_what_shines_through_from_the_other_side_is_left_out() -> None:
    for digit in (1, 2, 4, 5, 7):
        clean = page(digit, (280, 280), 0.07, 0.5)
        other = 1 - 0.2 * (1 - np.roll(page(digit, (280, 280), 0.08, 0.5)[:, ::-1], (20, 30), (0, 1)))
        assert distance(image_of(photo(clean * other)), image_of(photo(clean))) < 9, digit


def test_stains_that_hang_together_with_it_are_left_out() -> None:
    """Squares and stains are faint, and of one tone; a pen that runs dry is left alone."""
    digit = 255 - np.asarray(draw(4, (160, 160), 255, 55, 0.03, "L", 0.3))
    y, x = np.mgrid[:160, :160]
    squares = np.where((y % 12 < 2) | (x % 12 < 2), 45, 0).astype(np.uint8)
    clean = remove_stains(np.maximum(digit, squares))
    assert clean is not None
    far = np.asarray(Image.fromarray(digit).filter(ImageFilter.MaxFilter(9))) == 0
    assert not clean[far].any()
    assert np.array_equal(clean[digit > 0], digit[digit > 0])
    dry = (digit * np.linspace(1, 0.15, 160)[:, None]).astype(np.uint8)
    assert remove_stains(dry) is None
    assert remove_stains(digit) is None
    stain = np.where(np.hypot(y - 70, x - 70) < 16, 45, 0).astype(np.uint8)
    without = remove_stains(np.maximum(digit, stain))
    assert without is not None
    assert not without[far].any()
    speck = np.where(np.hypot(y - 70, x - 70) < 3, 45, 0).astype(np.uint8)
    assert remove_stains(np.maximum(digit, speck)) is None


def test_specks_are_dropped_and_strokes_are_kept() -> None:
    clean = draw(5)
    specked = np.asarray(clean).copy()
    for y, x in ((10, 10), (270, 40), (30, 260)):
        specked[y : y + 3, x : x + 3] = 0
    assert distance(image_of(specked), image_of(clean)) < 1

    broken = np.asarray(clean).copy()
    broken[60:70] = 255  # the bar of the 5 comes off
    assert np.flatnonzero(image_of(broken).any(1))[0] <= np.flatnonzero(image_of(clean).any(1))[0] + 1


def test_a_loose_bar_of_a_five_stays() -> None:
    picture = draw(5, (280, 280), 235, 50, 0.05, "L")
    ImageDraw.Draw(picture).rectangle((60, 78, 280, 88), fill=235)  # a gap between the bar and the rest
    rows = np.flatnonzero(image_of(picture).any(1))
    body = np.asarray(picture)[89:]
    assert np.ptp(rows) == 19
    assert distance(image_of(picture), image_of(np.pad(body, ((60, 0), (0, 0)), constant_values=235))) > 10


def test_a_digit_that_touches_the_edge() -> None:
    for digit in range(10):
        clean = page(digit, (280, 280))
        expected = image_of(photo(clean))
        rows, columns = np.flatnonzero((clean < 0.5).any(1)), np.flatnonzero((clean < 0.5).any(0))
        crops = (clean[rows[0] :], clean[: rows[-1] + 1], clean[:, columns[0] :], clean[:, : columns[-1] + 1])
        for side, crop in enumerate(crops):
            assert distance(image_of(photo(crop)), expected) < 6, (digit, side)


def test_several_digits_in_a_row() -> None:
    for digits in ((3, 7), (1, 0), (1, 1), (2, 0, 2, 6), (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)):
        picture = row(*digits)
        assert reason(picture) == "several_digits", digits
        assert reason(255 - picture) == "several_digits", digits
        assert reason(photo(picture / 255 * 0.9), "JPEG") == "several_digits", digits


def test_two_on_28x28_light_pixels() -> None:
    for digits in ((1, 1), (1, 0), (2, 4)):
        small = Image.fromarray(row(*digits)).resize((28, 28), Image.Resampling.BOX)
        assert reason(small) == "several_digits", digits


def test_several_cut_out_where_the_strokes_end() -> None:
    """All touch the border."""
    for digits in ((2, 0), (4, 7, 6), (8, 2, 0, 3)):
        assert reason(crop_tightly(row(*digits))) == "several_digits", digits


def test_several_small_ones_in_a_large_picture() -> None:
    large = np.full((1200, 1600), 255, np.uint8)
    large[500:780, 300:730] = row(4, 7)
    assert reason(large) == "several_digits"


def test_digits_that_touch() -> None:
    """Told by their width alone, and so from about three on."""
    assert reason(row(0, 0, 0, pitch=115)) == "several_digits"


def test_one_digit_is_one() -> None:
    for digit in range(10):
        assert reason(photo(page(digit, (400, 300)))) is None, digit
        for width in (0.03, 0.07, 0.12):
            picture = np.asarray(draw(digit, (280, 280), width=width, mode="L"))
            assert reason(picture) is None, (digit, width)
            assert reason(crop_tightly(picture)) is None, (digit, width)


def test_neighbours_that_the_border_cuts_do_not_count() -> None:
    """As when one digit was cut out of a page: the one in the middle is read."""
    whole = row(8, 5, 8)
    assert reason(whole) == "several_digits"
    assert reason(whole[:, 155:425]) is None


def test_what_lies_above_or_below_does_not_count() -> None:
    """A line of print, a part of the digit, a rule."""
    picture = row(5)
    picture[60:70] = 255  # the bar of the 5 comes off
    assert reason(picture) is None
    picture[255:265, 20:260] = 0
    assert reason(picture) is None
    for x in range(20, 260, 16):
        picture[8:20, x : x + 10] = 0
    assert reason(picture) is None


def test_small_things_beside_a_digit_do_not_count() -> None:
    picture = row(5)
    picture[200:224, 220:232] = 0  # a full stop
    picture[110:120, 10:50] = 0  # a dash
    assert reason(picture) is None


def test_a_piece_of_a_crowd_is_no_single_digit() -> None:
    """Of noise, a pattern, a page: one clump alone would be a 1 to anybody."""
    for side, block, share in ((56, 2, 0.15), (112, 1, 0.05), (112, 4, 0.15), (280, 10, 0.1)):
        for seed in range(10):
            blocks = np.random.default_rng(seed).random((side // block, side // block)) < share
            picture = np.kron(np.where(blocks, 0, 255), np.ones((block, block))).astype(np.uint8)
            assert reason(picture) == "several_digits", (side, block, seed)


def test_specks_around_a_digit_do_not_count() -> None:
    picture, random = row(5), np.random.default_rng(7)
    for y, x in random.integers(0, 274, (60, 2)):
        picture[y : y + 6, x : x + 6] = 0
    assert reason(picture) is None


def test_what_the_network_gets_unchanged_is_left_to_it() -> None:
    random = np.random.default_rng(3)
    one, other = handwritten(1, random), handwritten(0, random)
    both = np.concatenate([one[:, 7:21], other[:, 7:21]], axis=1)
    assert np.array_equal(image_of(both), both)
    assert reason(both) is None


def test_mnist_is_single(mnist: Digits) -> None:
    """As it is, and as dark ink on a large light page; there a few that are very broad are not."""
    images = mnist.test.images[::40]
    assert [reason(image) for image in images] == [None] * len(images)
    pages = [Image.fromarray(255 - np.pad(image, 8)).resize((220, 220), Image.Resampling.BICUBIC) for image in images]
    assert sum(reason(picture) is not None for picture in pages) <= len(pages) / 100
