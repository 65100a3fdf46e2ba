"""The short way through the plainest PNG files: it takes what the imaging library takes, to the same pixels."""

import random
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from app.vision.brightness import to_brightness
from app.vision.decode import decode, open_image
from app.vision.png import decode_plain_png
from tests.samples import encode, handwritten
from tests.support.pictures import png_chunk

DIGIT = handwritten(4, np.random.default_rng(1))
BEGIN, PIXELS, END = encode(DIGIT, "PNG")[:33], encode(DIGIT, "PNG")[33:-12], encode(DIGIT, "PNG")[-12:]


def test_digits_come_through_as_they_are() -> None:
    for digit in range(10):
        image = handwritten(digit, np.random.default_rng(digit))
        for options in ({}, {"optimize": True}, {"compress_level": 0}, {"compress_level": 9}):
            found = decode_plain_png(encode(image, "PNG", **options))
            assert found is not None, (digit, options)
            assert np.array_equal(found, image), (digit, options)


def test_every_filter() -> None:
    """A row's first byte says how it was filtered; the same bytes mean another picture under each."""
    for kind in range(5):
        rows = b"".join(bytes([kind]) + bytes(range(28)) for _ in range(28))
        content = BEGIN + png_chunk(b"IDAT", zlib.compress(rows)) + END
        found = decode_plain_png(content)
        assert found is not None, kind
        assert np.array_equal(found, to_brightness(decode(open_image(content, 10**6)))), kind


def note() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "somebody")
    return info


@pytest.mark.parametrize(
    "content",
    [
        b"",
        BEGIN,
        BEGIN + END,
        encode(Image.fromarray(DIGIT).convert("RGB"), "PNG"),
        encode(Image.fromarray(DIGIT).resize((28, 29)), "PNG"),
        encode(Image.fromarray(DIGIT), "PNG", pnginfo=note()),
        encode(Image.fromarray(DIGIT), "PNG", transparency=0),
        encode(DIGIT, "BMP"),
        encode(DIGIT, "PNG") + b"more",
        encode(DIGIT, "PNG")[:-1],
        BEGIN + png_chunk(b"IDAT", PIXELS[8:50]) + png_chunk(b"IDAT", PIXELS[50:-4]) + END,
        BEGIN + png_chunk(b"IDAT", PIXELS[8:60]) + END,
        BEGIN + png_chunk(b"IDAT", zlib.compress(bytes([9]) * 29 * 28)) + END,
        BEGIN + png_chunk(b"IDAX", PIXELS[8:-4]) + END,
    ],
)
def test_anything_else_is_left_to_the_imaging_library(content: bytes) -> None:
    assert decode_plain_png(content) is None


def test_it_takes_no_damaged_file_that_the_imaging_library_refuses() -> None:
    dice, taken = random.Random(3), 0
    rows = zlib.decompress(PIXELS[8:-4])
    for number in range(3000):
        changed = bytearray(encode(DIGIT, "PNG") if number % 2 else rows)
        for _ in range(dice.randint(1, 4)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        content = bytes(changed) if number % 2 else BEGIN + png_chunk(b"IDAT", zlib.compress(changed)) + END
        found = decode_plain_png(content)
        if found is not None:
            taken += 1
            assert np.array_equal(found, to_brightness(decode(open_image(content, 10**6))))
    assert taken > 500
