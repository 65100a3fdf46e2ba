"""The whole way from a file to 28x28."""

import tracemalloc

import numpy as np
from PIL import Image

from app.vision.pipeline import preprocess, preprocess_pixels
from tests.support.images import draw, encode
from tests.support.pictures import MAX_PIXELS, distance, image_of, page, photo, preprocessed
from training.data import Digits


def test_an_inverted_image_comes_back_almost_the_same(mnist: Digits) -> None:
    differences = [distance(image_of(255 - image), image) for image in mnist.test.images[:100]]
    assert np.median(differences) < 0.5


def test_size_does_not_matter() -> None:
    reference = image_of(draw(5, (280, 280)))
    for side in (140, 600, 1500):
        assert distance(image_of(draw(5, (side, side))), reference) < 6, side


def test_a_small_digit_in_a_large_photo() -> None:
    """A twentieth of the picture's width, and nearly as sharp as when it is cut out."""
    for digit in (0, 4, 5, 7):
        clean = page(digit, (160, 160), 0.06, 0.5)
        large = np.full((1200, 1600), 235 / 255)
        large[700:860, 300:460] = clean
        light = 0.8 + 0.2 * np.linspace(0, 1, 1600)
        assert distance(image_of(photo(large * light)), image_of(photo(clean))) < 9, digit


def test_a_tiny_digit_in_a_large_photo() -> None:
    """A fortieth of the picture's width in strokes of three pixels: too few to be seen among the paper's grain."""
    for digit in (1, 2, 3, 8):
        large = np.full((900, 1200), 0.9)
        clean = page(digit, (80, 80), 0.04, 0.45)
        large[500:580, 260:340] = clean
        light = 0.85 + 0.15 * np.linspace(0, 1, 1200)
        assert distance(image_of(photo(large * light)), image_of(photo(clean))) < 12, digit


def test_a_speck_is_no_tiny_digit() -> None:
    large = np.full((900, 1200), 0.9)
    large[500:504, 260:264] = 0.2
    assert preprocessed(photo(large)).reason == "blank"


def test_blank_pictures() -> None:
    for level in (0, 90, 255):
        for size in ((28, 28), (280, 280), (1, 1), (1, 500), (3000, 20)):
            blank = preprocessed(Image.new("L", size, level))
            assert blank.reason == "blank", (size, level)
            assert blank.image.shape == (28, 28)
            assert not blank.image.any(), (size, level)
        assert preprocess_pixels(np.full((28, 28), level, np.float32)).reason == "blank"


def test_faint_grain_on_paper_is_blank() -> None:
    for side in (28, 200):
        grain = np.random.default_rng(0).normal(230, 3, (side, side)).clip(0, 255).astype(np.uint8)
        assert preprocessed(grain).reason == "blank", side


def test_noise_alone_never_breaks() -> None:
    for side in (28, 60, 280, 600):
        for seed in range(3):
            noise = np.random.default_rng(seed).integers(0, 256, (side, side)).astype(np.uint8)
            assert image_of(noise).shape == (28, 28)


def test_thin_and_tiny_pictures_never_break() -> None:
    random = np.random.default_rng(5)
    for size in ((1, 2), (2, 1), (3, 3), (1, 900), (2000, 2), (17, 5)):
        assert image_of(random.integers(0, 2, size[::-1]).astype(np.uint8) * 255).shape == (28, 28)


def test_extreme_pictures_take_little_memory() -> None:
    for width, height in ((1_000_000, 1), (60_000, 4), (3, 40_000), (4960, 5000)):
        image = Image.new("1", (width, height), 1)
        image.paste(0, (width // 4, 0, width // 2 + 1, height))
        for mode in ("1", "P"):
            content = encode(image.convert(mode))
            tracemalloc.start()  # counts numpy's arrays
            try:
                preprocess(content, MAX_PIXELS)
            finally:
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
            assert peak < 100_000_000, (width, height, mode)
