"""PNG files: the plainest ones straight to the same pixels as Pillow's, and others whatever their metadata."""

import io
import random
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from app.vision.brightness import to_brightness
from app.vision.decode import decode, open_image
from app.vision.pipeline import preprocess
from app.vision.png import decode_plain_png, without_metadata
from tests.support.images import draw, encode, handwritten
from tests.support.pictures import MAX_PIXELS, image_of, png_chunk

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


def with_chunks(*chunks: bytes, after: bool = False, orientation: bool = True) -> bytes:
    """A picture with these chunks before its pixels, or after them; lying on its side where they turn it upright."""
    picture = draw(7, (300, 280), mode="L")
    content = encode(picture.transpose(Image.Transpose.ROTATE_90) if orientation else picture)
    place = len(content) - 12 if after else 33
    return content[:place] + b"".join(chunks) + content[place:]


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/>'
LARGE = bytes(3 * 2**19)


def international(text: bytes, packed: bool, keyword: bytes = b"XML:com.adobe.xmp") -> bytes:
    """An iTXt chunk."""
    return png_chunk(b"iTXt", keyword + b"\0" + (b"\1\0\0\0" + zlib.compress(text) if packed else bytes(4) + text))


def test_metadata_that_are_not_needed_are_not_read() -> None:
    """Profiles and texts that unpack to more than a megabyte, that are damaged, or have odd names."""
    expected = image_of(draw(7, (300, 280), mode="L"))
    plain = with_chunks(orientation=False)
    assert without_metadata(plain) is plain
    damaged = bytearray(png_chunk(b"pHYs", bytes(9)))
    damaged[-1] ^= 1
    for number, chunk in enumerate(
        (
            png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(LARGE)),
            png_chunk(b"iCCP", b"profile\0\0" + b"no such thing"),
            png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(LARGE)),
            png_chunk(b"zTXt", b"Comment\0\5" + b"of no known compression"),
            png_chunk(b"tEXt", b"Comment\0" + LARGE),
            png_chunk(b"tEXt", b"transparency\0of the public service"),
            international(LARGE, packed=True),
            international(LARGE, packed=True, keyword=b"Comment"),
            international(LARGE, packed=False),
            international(b"", packed=True),
            png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1"),
            png_chunk(b"iTXt", b"XML:com.adobe.xmp"),
            png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(LARGE)),
            png_chunk(b"zTXt", b"Raw profile type exif"),
            international(LARGE, packed=True) * 100,
            bytes(damaged),
        )
    ):
        for after in (False, True):
            content = with_chunks(chunk, after=after, orientation=False)
            assert np.array_equal(preprocess(content, MAX_PIXELS).image, expected), (number, after)


def test_those_that_tell_the_orientation_are() -> None:
    """EXIF, XMP and ImageMagick's texts, also where they unpack to more than a megabyte."""
    expected = image_of(draw(7, (300, 280), mode="L"))
    exif = Image.Exif()
    exif[274] = 6
    raw = b"\nexif\n      26\n" + b"Exif\0\0".hex().encode() + exif.tobytes().removeprefix(b"Exif\0\0").hex().encode()
    for number, chunk in enumerate(
        (
            png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")),
            international(XMP, packed=False),
            international(XMP, packed=True),
            international(XMP + LARGE, packed=True),
            international(XMP + LARGE, packed=False),
            png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)),
            png_chunk(b"tEXt", b"Raw profile type exif\0" + raw),
        )
    ):
        for after in (False, True):
            content = with_chunks(png_chunk(b"pHYs", bytes(9)), chunk, after=after)
            assert np.array_equal(preprocess(content, MAX_PIXELS).image, expected), (number, after)


def test_an_animation_shows_its_first_frame() -> None:
    buffer = io.BytesIO()
    draw(7).save(buffer, "PNG", save_all=True, append_images=[draw(1), draw(2)])
    assert b"acTL" in buffer.getvalue()
    assert np.array_equal(preprocess(buffer.getvalue(), MAX_PIXELS).image, image_of(draw(7)))
