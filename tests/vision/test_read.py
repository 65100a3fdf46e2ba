"""From bytes to 28x28: what goes through unchanged, and what every other picture becomes."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.vision.digit import normalise, otsu
from app.vision.ink import counts, has_dark_ground, thumbnail
from app.vision.read import read, read_grey, read_plain
from tests.samples import draw, encode, handwritten
from training.data import Digits

LIMIT = 25_000_000


def read_array(image: Image.Image | NDArray[np.uint8], kind: str = "PNG", **options: object) -> NDArray[np.uint8]:
    return read(encode(image, kind, **options), LIMIT).image


def distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Mean difference in grey levels. A centre of mass close to a boundary may round either way, so a shift by
    one pixel is no difference.
    """
    shifted = [np.roll(one, (dy, dx), (0, 1)).astype(int) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return float(min(np.abs(image - other).mean() for image in shifted))


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(3)
    return [handwritten(digit, random) for digit in range(10)]


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_28x28_image_on_a_dark_ground_goes_through_unchanged(images: list[NDArray[np.uint8]], mode: str) -> None:
    for image in images:
        assert np.array_equal(read_array(Image.fromarray(image).convert(mode)), image)


def test_all_of_mnist_goes_through_unchanged(mnist: Digits) -> None:
    for split in (mnist.train, mnist.test):
        for image in split.images[:: 1 if len(split) < 20_000 else 7]:
            assert np.array_equal(read_array(image), image)


def test_many_are_read_as_one_by_one(images: list[NDArray[np.uint8]]) -> None:
    """Dark grounds and light ones, off the middle, blank, grainy, in any order."""
    random = np.random.default_rng(0)
    kinds = [
        *(kind for image in images for kind in (image, 255 - image, np.roll(image, 3, 0), image // 2 + 60)),
        *(random.integers(0, 256, (28, 28)), np.zeros((28, 28)), np.full((28, 28), 255)),
    ]
    many = np.stack(kinds).astype(np.float32)[random.permutation(len(kinds))]
    together = read_plain(many)
    assert sum(sight is not None for sight in together) >= len(images)
    for plain, alone in zip(together, map(read_grey, many), strict=True):
        if plain is not None:
            assert plain.reason == alone.reason
            assert np.array_equal(plain.image, alone.image)


def test_those_that_are_wide_high_or_off_the_middle_are_told_apart(images: list[NDArray[np.uint8]]) -> None:
    """As one by one, by the definition: the longer side of the ink, and where its centre of mass is."""
    random = np.random.default_rng(0)
    boxes = np.zeros((2_000, 28, 28), np.uint8)
    for box in boxes:
        top, bottom = np.sort(random.integers(0, 29, 2))
        left, right = np.sort(random.integers(0, 29, 2))
        box[top:bottom, left:right] = random.integers(40, 256)
    moved = [np.roll(image, random.integers(-6, 7, 2), (0, 1)) for image in images]
    many = [box for box in boxes if box.any() and np.count_nonzero(_border(box)) < 54] + moved
    for image, sight in zip(many, read_plain(np.stack(many)), strict=True):
        rows, columns = np.nonzero(image > 16)
        side = max(np.ptp(rows), np.ptp(columns)) + 1
        weights = image.astype(float)
        off = [abs((weights.sum(axis) * (np.arange(28) - 13.5)).sum() / weights.sum()) for axis in (0, 1)]
        as_mnist = side > 22 or (side >= 19 and max(off) <= 1.5)
        assert (sight is not None) == (as_mnist and np.count_nonzero(_border(image) <= 16) > 54)


def _border(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])


@pytest.mark.parametrize("shift", [(-3, 0), (0, 3)])
def test_a_28x28_image_off_the_middle_is_put_there(images: list[NDArray[np.uint8]], shift: tuple[int, int]) -> None:
    for image in images:
        assert distance(read_array(np.roll(image, shift, (0, 1))), image) < 4
        assert not np.array_equal(read_array(np.roll(image, shift, (0, 1))), np.roll(image, shift, (0, 1)))


def test_a_digit_that_is_small_on_28x28_is_enlarged(images: list[NDArray[np.uint8]]) -> None:
    for image in images:
        small = np.zeros((28, 28), np.uint8)
        small[7:21, 7:21] = np.asarray(Image.fromarray(image[2:26, 2:26]).resize((14, 14), Image.Resampling.LANCZOS))
        assert distance(small, image) > 1.2 * distance(read_array(small), image)


def test_more_than_a_digit_is_left_as_it_is(images: list[NDArray[np.uint8]]) -> None:
    """With specks all over, the box around the ink says nothing about the digit's place."""
    for image in images:
        specked = image.copy()
        specked[[1, 26, 2], [1, 2, 26]] = 200
        assert np.array_equal(read_array(specked), specked)


def test_an_inverted_image_comes_back_almost_the_same(mnist: Digits) -> None:
    differences = [distance(read_array(255 - image), image) for image in mnist.test.images[:300]]
    assert np.median(differences) < 0.5


def test_size_does_not_matter(images: list[NDArray[np.uint8]]) -> None:
    def reading(side: int) -> NDArray[np.uint8]:
        return read_array(draw(5, (side, side)))

    reference = reading(280)
    for side in (140, 600, 1500):
        assert distance(reading(side), reference) < 6


def test_the_box_is_20_and_the_mass_is_in_the_middle() -> None:
    for digit in range(10):
        image = read_array(draw(digit, (300, 500), height=0.5))
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        assert max(np.ptp(rows), np.ptp(columns)) + 1 == 20
        assert image.max() == 255
        centres = np.arange(28) + 0.5
        for axis in (0, 1):
            centre = float(image.sum(axis=1 - axis) @ centres / image.sum())
            assert 14 <= centre <= 15


@pytest.mark.parametrize(
    ("ground", "ink"),
    [
        ("white", "black"),
        ("black", "white"),
        ((250, 240, 200), (30, 40, 120)),
        ((20, 60, 40), (240, 240, 220)),
        ((0, 120, 0), (230, 20, 20)),  # red on green of nearly the same brightness
        ((120, 120, 120), (90, 90, 90)),
    ],
)
def test_colours_do_not_matter(ground: object, ink: object) -> None:
    reference = read_array(draw(3))
    assert distance(read_array(draw(3, ground=ground, ink=ink)), reference) < 4


@pytest.mark.parametrize("ink", ["black", "white", (200, 30, 30, 255)])
def test_ink_on_a_transparent_ground(ink: object) -> None:
    reference = read_array(draw(4))
    image = draw(4, ground=(0, 0, 0, 0) if ink != "white" else (255, 255, 255, 0), ink=ink, mode="RGBA")
    assert distance(read_array(image), reference) < 4


def test_a_palette_with_a_transparent_colour() -> None:
    image = draw(4).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    reference = read_array(draw(4))
    ground = image.getpixel((0, 0))
    assert distance(read_array(image, "PNG", transparency=ground), reference) < 4


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", "1"), ("PNG", "L"), ("PNG", "I;16"), ("JPEG", "CMYK"), ("TIFF", "F"), ("WEBP", "RGB"), ("BMP", "RGB"),
     ("GIF", "P"), ("TIFF", "L"), ("JPEG", "L")],
)  # fmt: skip
def test_every_format_and_mode(kind: str, mode: str) -> None:
    reference = read_array(draw(6))
    image = draw(6)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    assert (
        distance(read_array(image if mode == "I;16" else image.convert(mode), kind), reference) < 6
    )  # JPEG leaves rings around the strokes, and the box with them is a little larger


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_are_undone(orientation: int) -> None:
    upright = draw(7, (400, 300))
    reference = read_array(upright, "JPEG")
    stored = {  # how a camera stores the picture that has to be turned this way to be upright
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    image = upright if stored is None else upright.transpose(stored)
    assert distance(read_array(image, "JPEG", exif=exif), reference) < 4


def test_a_shadow_over_half_the_page() -> None:
    reference = read_array(draw(2))
    light = np.where(np.arange(280) < 140, 1.0, 0.45)
    light = np.convolve(np.pad(light, 40, mode="edge"), np.ones(81) / 81, mode="valid")
    shadowed = (np.asarray(draw(2, ground=(235, 230, 220), ink=(40, 40, 60))) * light[None, :, None]).astype(np.uint8)
    assert distance(read_array(shadowed), reference) < 8


def test_specks_are_dropped_and_strokes_are_kept() -> None:
    clean = draw(5)
    specked = np.asarray(clean).copy()
    for y, x in ((10, 10), (270, 40), (30, 260)):
        specked[y : y + 3, x : x + 3] = 0
    assert distance(read_array(specked), read_array(clean)) < 1

    broken = np.asarray(clean).copy()
    broken[60:70] = 255  # the bar of the 5 comes off
    assert np.flatnonzero(read_array(broken).any(1))[0] <= np.flatnonzero(read_array(clean).any(1))[0] + 1


@pytest.mark.parametrize("size", [(28, 28), (280, 280), (1, 1), (1, 500), (3000, 20)])
@pytest.mark.parametrize("level", [0, 90, 255])
def test_blank_images_are_named_blank(size: tuple[int, int], level: int) -> None:
    sight = read(encode(Image.new("L", size, level)), LIMIT)
    assert sight.reason == "blank"
    assert sight.image.shape == (28, 28)
    assert not sight.image.any()
    assert read_grey(np.full((28, 28), level, np.float32)).reason == "blank"


def test_a_digit_in_fog_is_not_blank(images: list[NDArray[np.uint8]]) -> None:
    """On 28x28 there are too few pixels to tell a faint stroke from the grain beside it."""
    random = np.random.default_rng(5)
    for image in images:
        fog = np.asarray(Image.fromarray(random.integers(40, 100, (5, 5)).astype(np.uint8)).resize((28, 28), 3))
        foggy = fog + image * 0.4 + random.normal(0, 12, (28, 28))
        seen = read(encode(np.clip(foggy, 0, 255).astype(np.uint8)), LIMIT)
        assert seen.reason is None
        assert seen.image[image > 128].mean() > seen.image[image == 0].mean() + 20


@pytest.mark.parametrize("turned", [False, True])
def test_a_digit_across_light_and_dark_bands(images: list[NDArray[np.uint8]], turned: bool) -> None:
    for image in images:
        picture = image.T if turned else image
        banded = picture.copy()
        banded[:, :9] = 255 - banded[:, :9]
        banded[:, 19:] = 255 - banded[:, 19:]
        assert distance(read_array(banded.T if turned else banded), image) < 1


def test_faint_grain_on_paper_is_blank() -> None:
    for side in (28, 200):
        grain = np.random.default_rng(0).normal(230, 3, (side, side)).clip(0, 255).astype(np.uint8)
        assert read(encode(grain), LIMIT).reason == "blank"


def test_thin_and_tiny_pictures_never_break() -> None:
    random = np.random.default_rng(5)
    for size in ((1, 2), (2, 1), (3, 3), (1, 900), (2000, 2), (17, 5)):
        assert read_array(random.integers(0, 2, size[::-1]).astype(np.uint8) * 255).shape == (28, 28)


def test_otsu_parts_two_levels() -> None:
    assert 10 <= otsu(counts(np.array([[10] * 50 + [200] * 5], np.uint8))) < 200


def test_dark_ground_is_told() -> None:
    light = np.asarray(draw(1, mode="L"))
    for brightness, dark in ((light, False), (255 - light, True)):
        assert has_dark_ground(brightness, thumbnail(brightness)) == dark


def test_normalise_takes_ink_that_touches_every_edge() -> None:
    image = normalise(np.full((50, 30), 255, np.float32))
    assert image.max() == 255
    assert image.any(1).sum() == 20


@pytest.mark.parametrize("size", [20, 21, 28, 33, 40, 47, 60, 100, 230])
def test_a_stroke_of_one_pixel_is_never_lost(size: int) -> None:
    """Averaging that takes whole pixels skips some of a row of 21 to 60, and a thin stroke with them."""
    for column in range(1, size - 1):
        page = np.full((size, size), 255, np.uint8)
        page[1 : size - 1, column] = 0
        image = read_array(page)
        assert np.ptp(np.flatnonzero(image.any(1))) == 19
        # A hundred percent of the stroke's ink, whichever pixels it falls on: the same profile everywhere.
        assert image.max() == 255


def test_areas_are_averaged_exactly() -> None:
    ink = np.zeros((47, 47), np.float32)
    ink[0] = ink[-1] = 1  # so that the box is the whole
    ink[:, 0] = ink[:, -1] = 1
    for column in range(1, 46):
        marked = ink.copy()
        marked[20, column] = 255
        image = normalise(marked)
        assert image.max() == 255


@pytest.mark.parametrize(("width", "height"), [(1_000_000, 1), (60_000, 4), (3, 40_000), (4960, 5000)])
@pytest.mark.parametrize("mode", ["1", "P"])
def test_extreme_pictures_take_little_memory(width: int, height: int, mode: str) -> None:
    import tracemalloc

    image = Image.new("1", (width, height), 1)
    image.paste(0, (width // 4, 0, width // 2 + 1, height))
    content = encode(image.convert("P") if mode == "P" else image)
    tracemalloc.start()  # counts numpy's arrays
    try:
        read(content, LIMIT)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 100_000_000


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("transparent", [False, True])
def test_deep_grey(bits: int, transparent: bool) -> None:
    reference = read_array(draw(6))
    deep = (np.asarray(draw(6).convert("L")).astype(np.float64) / 255 * (2**bits - 1)).astype(np.uint16)
    options = {"transparency": 2**bits - 1} if transparent else {}
    assert distance(read_array(Image.fromarray(deep), "PNG", **options), reference) < 4


def test_floats_that_are_not_finite() -> None:
    values = np.asarray(draw(6).convert("L")).astype(np.float32) / 255
    values[0, :3] = np.inf, -np.inf, np.nan
    assert distance(read_array(Image.fromarray(values), "TIFF"), read_array(draw(6))) < 4
    nothing = Image.fromarray(np.full((40, 40), np.nan, np.float32))
    assert read(encode(nothing, "TIFF"), LIMIT).reason == "blank"


@pytest.mark.parametrize("level", [255, 254, 240, 230, 200])
def test_nearly_white_ink_on_a_transparent_ground(level: int) -> None:
    image = draw(4, ground=(255, 255, 255, 0), ink=(level, level, level, 255), mode="RGBA")
    assert distance(read_array(image), read_array(draw(4))) < 4


def test_a_28x28_picture_is_turned_too(images: list[NDArray[np.uint8]]) -> None:
    exif = Image.Exif()
    exif[274] = 6
    for image in (images[7], 255 - images[7]):
        lying = Image.fromarray(image).transpose(Image.Transpose.ROTATE_90)
        assert np.array_equal(read_array(lying, "PNG", exif=exif), read_array(image))
        # The block may also stand behind the pixels.
        content = encode(lying, "PNG", exif=exif)
        begin, end = content.index(b"eXIf") - 4, content.index(b"IDAT") - 4
        late = content[:begin] + content[end:-12] + content[begin:end] + content[-12:]
        assert np.array_equal(read(late, LIMIT).image, read_array(image))
