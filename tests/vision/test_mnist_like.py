"""Images that lie as MNIST's do go to the network unchanged; which ones do."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.vision.mnist_like import is_mnist_like
from app.vision.pipeline import preprocess_many, preprocess_mnist_like, preprocess_pixels
from tests.support.images import handwritten
from tests.support.pictures import distance, image_of
from training.data import Digits


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(3)
    return [handwritten(digit, random) for digit in range(10)]


def test_a_28x28_image_on_a_dark_background_goes_through_unchanged(images: list[NDArray[np.uint8]]) -> None:
    for mode in ("L", "RGB", "P"):
        for digit, image in enumerate(images):
            assert np.array_equal(image_of(Image.fromarray(image).convert(mode)), image), (mode, digit)


def test_all_of_mnist_goes_through_unchanged(mnist: Digits) -> None:
    for split in (mnist.train, mnist.test):
        assert is_mnist_like(split.images).all()
        for image in split.images[::100]:
            assert np.array_equal(image_of(image), image)


def test_many_are_preprocessed_as_one_by_one(images: list[NDArray[np.uint8]]) -> None:
    """Dark backgrounds and light ones, off the middle, blank, grainy, in any order."""
    random = np.random.default_rng(0)
    kinds = [
        *(kind for image in images for kind in (image, 255 - image, np.roll(image, 3, 0), image // 2 + 60)),
        *(random.integers(0, 256, (28, 28)), np.zeros((28, 28)), np.full((28, 28), 255)),
    ]
    many = np.stack(kinds).astype(np.float32)[random.permutation(len(kinds))]
    assert sum(image is not None for image in preprocess_mnist_like(many)) >= len(images)
    for together, alone in zip(preprocess_many(list(many)), map(preprocess_pixels, many), strict=True):
        assert together.reason == alone.reason
        assert np.array_equal(together.image, alone.image)


def test_those_that_are_wide_high_or_off_the_middle_are_told_apart(images: list[NDArray[np.uint8]]) -> None:
    """By the definition: the longer side of the foreground, and where its centre of mass is."""
    random = np.random.default_rng(0)
    boxes = np.zeros((2_000, 28, 28), np.uint8)
    for box in boxes:
        top, bottom = np.sort(random.integers(0, 29, 2))
        left, right = np.sort(random.integers(0, 29, 2))
        box[top:bottom, left:right] = random.integers(40, 256)
    moved = [np.roll(image, random.integers(-6, 7, 2), (0, 1)) for image in images]
    many = [box for box in boxes if box.any() and np.count_nonzero(_border(box)) < 54] + moved
    for image, found in zip(many, is_mnist_like(np.stack(many)), strict=True):
        rows, columns = np.nonzero(image > 16)
        side = max(np.ptp(rows), np.ptp(columns)) + 1
        weights = image.astype(float)
        off = [abs((weights.sum(axis) * (np.arange(28) - 13.5)).sum() / weights.sum()) for axis in (0, 1)]
        as_mnist = side > 22 or (side >= 19 and max(off) <= 1.5)
        assert found == (as_mnist and np.count_nonzero(_border(image) <= 16) > 54)


def _border(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])


def test_an_image_off_the_middle_is_put_there(images: list[NDArray[np.uint8]]) -> None:
    for shift in ((-3, 0), (0, 3)):
        for digit, image in enumerate(images):
            moved = np.roll(image, shift, (0, 1))
            assert distance(image_of(moved), image) < 4, (shift, digit)
            assert not np.array_equal(image_of(moved), moved), (shift, digit)


def test_a_small_digit_is_enlarged(images: list[NDArray[np.uint8]]) -> None:
    for digit, image in enumerate(images):
        small = np.zeros((28, 28), np.uint8)
        small[7:21, 7:21] = np.asarray(Image.fromarray(image[2:26, 2:26]).resize((14, 14), Image.Resampling.LANCZOS))
        assert distance(small, image) > 1.2 * distance(image_of(small), image), digit


def test_more_than_a_digit_is_left_as_it_is(images: list[NDArray[np.uint8]]) -> None:
    """With specks all over, the box around the foreground says nothing about the digit's place."""
    for digit, image in enumerate(images):
        specked = image.copy()
        specked[[1, 26, 2], [1, 2, 26]] = 200
        assert np.array_equal(image_of(specked), specked), digit
