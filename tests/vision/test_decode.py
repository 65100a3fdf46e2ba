"""Bytes to an upright 8-bit picture: every format, and bytes that are no picture, or a hostile one."""

import random
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.errors import ImageError, NotAnImage, TooManyPixels, UnsupportedImage
from app.vision.decode import decode, open_image
from app.vision.pipeline import preprocess
from tests.support.images import draw, encode, handwritten
from tests.support.pictures import MAX_PIXELS, distance, image_of, png_header, preprocessed, tiff

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


def test_every_format_and_mode() -> None:
    reference = image_of(draw(6))
    for kind, mode in (
        ("PNG", "1"), ("PNG", "L"), ("PNG", "I;16"), ("JPEG", "CMYK"), ("TIFF", "F"), ("WEBP", "RGB"), ("BMP", "RGB"),
        ("GIF", "P"), ("TIFF", "L"), ("JPEG", "L"),
    ):  # fmt: skip
        image = draw(6)
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        else:
            image = image.convert(mode)
        # JPEG leaves rings around the strokes, and the box with them is a little larger.
        assert distance(image_of(image, kind), reference) < 6, (kind, mode)


def test_exif_turns_are_undone() -> None:
    upright = draw(7, (400, 300))
    reference = image_of(upright, "JPEG")
    stored = {  # how a camera stores the picture that has to be turned this way to be upright
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }
    for orientation, image in stored.items():
        exif = Image.Exif()
        exif[274] = orientation
        assert distance(image_of(image, "JPEG", exif=exif), reference) < 4, orientation


def test_a_28x28_picture_is_turned_too() -> None:
    exif = Image.Exif()
    exif[274] = 6
    seven = handwritten(7, np.random.default_rng(3))
    for image in (seven, 255 - seven):
        lying = Image.fromarray(image).transpose(Image.Transpose.ROTATE_90)
        assert np.array_equal(image_of(lying, "PNG", exif=exif), image_of(image))
        # The block may also stand behind the pixels.
        content = encode(lying, "PNG", exif=exif)
        begin, end = content.index(b"eXIf") - 4, content.index(b"IDAT") - 4
        late = content[:begin] + content[end:-12] + content[begin:end] + content[-12:]
        assert np.array_equal(preprocess(late, MAX_PIXELS).image, image_of(image))


def test_damaged_exif_turns_nothing() -> None:
    for exif in (b"II+\0\x08\0\0\0", b"II*\0", b"nonsense"):
        assert np.array_equal(image_of(draw(7), "PNG", exif=exif), image_of(draw(7))), exif


def test_deep_grey() -> None:
    reference = image_of(draw(6))
    for bits in (8, 10, 12, 14, 16):
        deep = (np.asarray(draw(6).convert("L")).astype(np.float64) / 255 * (2**bits - 1)).astype(np.uint16)
        for options in ({}, {"transparency": 2**bits - 1}):
            assert distance(image_of(Image.fromarray(deep), "PNG", **options), reference) < 4, (bits, options)


def test_a_tiff_of_any_range_of_numbers() -> None:
    grey = np.asarray(draw(6, mode="L")) / 255
    reference = image_of(draw(6))
    for name, values in (
        ("uint16", grey * (2**16 - 1)), ("uint32", grey * (2**32 - 1)), ("uint32", grey * 255),
        ("int8", grey * 255 - 128), ("int16", grey * (2**16 - 1) - 2**15), ("int32", grey * (2**32 - 1) - 2**31),
        ("int32", grey * (2**31 - 1)), ("float32", grey), ("float32", grey * 255), ("float32", grey * 2 - 1),
        ("float32", grey - 1),
    ):  # fmt: skip
        found = preprocess(grey_tiff(values.astype(name)), MAX_PIXELS)
        assert found.reason is None, (name, values.min(), values.max())
        assert distance(found.image, reference) < 2, (name, values.min(), values.max())


def test_a_tiff_of_numbers_that_are_not_read_is_named() -> None:
    grey = np.asarray(draw(6, mode="L"))
    for name, kind in (
        ("float64", "64-bit floats"), ("float16", "16-bit floats"), ("uint64", "64-bit whole numbers"),
        ("int64", "64-bit signed whole numbers"),
    ):  # fmt: skip
        for order in "<>":
            with pytest.raises(UnsupportedImage, match=f"a TIFF of {kind}; save it with 8 bits"):
                open_image(grey_tiff(grey.astype(np.dtype(name).newbyteorder(order))), MAX_PIXELS, "image/tiff")


def grey_tiff(values: NDArray[Any]) -> bytes:
    """One channel of numbers, as they are."""
    height, width = values.shape
    bits, kind = values.itemsize * 8, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 512, 277: 1, 278: height, 279: values.nbytes}
    big = values.dtype.str.startswith(">")
    return tiff({**tags, 339: kind}, values.tobytes(), big)


def test_alpha_that_no_program_filled_in() -> None:
    """Where it is 0 everywhere, the picture is opaque, as it is shown by others."""
    reference = image_of(draw(6))
    empty = draw(6).convert("RGBA")
    empty.putalpha(0)
    header = struct.pack("<IiiHHIIiiII", 124, 280, 280, 1, 32, 3, 280 * 280 * 4, 2835, 2835, 0, 0)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    pixels = empty.transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGRA")
    info = (header + masks + b"BGRs").ljust(124, b"\0")
    bitmap = b"BM" + struct.pack("<IHHI", 138 + len(pixels), 0, 0, 138) + info + pixels
    assert open_image(bitmap, MAX_PIXELS).mode == "RGBA"
    files = {"BMP": bitmap, "PNG": encode(empty), "TIFF": encode(empty, "TIFF")}
    files["WEBP"] = encode(empty, "WEBP", lossless=True, exact=True)
    for kind, content in files.items():
        assert distance(preprocess(content, MAX_PIXELS).image, reference) < 1, kind
    empty.putpixel((0, 0), (255, 255, 255, 255))  # all that is to be seen
    assert distance(image_of(empty), reference) > 10


def test_large_metadata() -> None:
    """Of more than a megabyte, as some programs write them; see ``test_png`` for PNG."""
    large, reference = bytes(3 * 2**19), image_of(draw(6))
    for kind, options in (
        ("JPEG", {"icc_profile": large}), ("JPEG", {"comment": bytes(65_000)}), ("WEBP", {"icc_profile": large}),
        ("WEBP", {"xmp": large}), ("WEBP", {"exif": b"Exif\0\0" + large}), ("TIFF", {"icc_profile": large}),
        ("TIFF", {"tiffinfo": {700: large}}), ("GIF", {"comment": large}),
    ):  # fmt: skip
        content = encode(draw(6), kind, **options)
        assert distance(preprocess(content, MAX_PIXELS).image, reference) < 6, (kind, *options)


def test_floats_that_are_not_finite() -> None:
    values = np.asarray(draw(6).convert("L")).astype(np.float32) / 255
    values[0, :3] = np.inf, -np.inf, np.nan
    assert distance(image_of(Image.fromarray(values), "TIFF"), image_of(draw(6))) < 4
    nothing = Image.fromarray(np.full((40, 40), np.nan, np.float32))
    assert preprocessed(nothing, "TIFF").reason == "blank"


def test_cut_short_anywhere() -> None:
    for kind in FORMATS:
        content = encode(draw(8), kind)
        whole = decode(open_image(content, 10**6)).convert("L").tobytes()
        for share in (0.02, 0.1, 0.3, 0.5, 0.8, 0.95):
            try:
                image = decode(open_image(content[: int(len(content) * share)], 10**6))
            except NotAnImage:
                continue
            # A JPEG's or GIF's tail may hold nothing that is needed; then the picture must be whole.
            assert image.convert("L").tobytes() == whole, (kind, share)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_flipped_bytes_never_raise_anything_else() -> None:
    for kind in FORMATS:
        content, dice = encode(draw(8, (60, 60)), kind), random.Random(7)
        for _ in range(150):
            damaged = bytearray(content)
            for _ in range(dice.randint(1, 8)):
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
            try:
                preprocess(bytes(damaged), 10**6)
            except ImageError:
                pass


def test_other_formats_are_named_and_the_allowed_ones_listed() -> None:
    for content, word in (
        (b"%PDF-1.7 ...", "PDF"),
        (b"  <svg xmlns=", "SVG"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"P5 2 2 255 abcd", "PGM"),
        (b"8BPS\0\1", "Photoshop"),
    ):
        with pytest.raises(UnsupportedImage, match=word) as caught:
            open_image(content, 10**6)
        assert "PNG, JPEG, WebP, BMP, GIF" in str(caught.value)


def test_pictures_in_the_base_media_format_are_named_by_their_brands() -> None:
    """HEIC is what iPhones send, under many brands, and often a general one comes first."""
    heic = [[brand] for brand in ("heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs")]
    heic += [["mif1", "heic"], ["msf1", "iso8", "hevc"], ["mif2", "miaf", "heix"]]
    for brands in heic:
        with pytest.raises(UnsupportedImage, match=r"a HEIC image; convert it to JPEG .*iPhone"):
            open_image(base_media(*brands), 10**6, "image/jpeg")
    for brands, word in (
        (["avif"], "an AVIF image; convert"), (["avis"], "an AVIF image"), (["mif1", "avif"], "an AVIF image"),
        (["mif1"], "a HEIF image; convert it to JPEG"), (["msf1"], "a HEIF image"), (["mif1", "jpeg"], "a HEIF image"),
        (["crx "], "raw image"), (["isom", "mp42"], "a video"), (["qt  "], "a video"),
    ):  # fmt: skip
        with pytest.raises(UnsupportedImage, match=word):
            open_image(base_media(*brands), 10**6)
    for length in range(8, 24):  # cut short anywhere
        with pytest.raises(UnsupportedImage):
            open_image(base_media("heic", "mif1")[:length], 10**6)


def base_media(*brands: str) -> bytes:
    """The first box of such a file."""
    box = b"ftyp" + brands[0].encode() + bytes(4) + b"".join(brand.encode() for brand in brands)
    return (len(box) + 4).to_bytes(4, "big") + box + b"\0\0\0\x08mdat"


def test_what_the_sender_called_it_explains_a_refusal() -> None:
    with pytest.raises(UnsupportedImage, match="text/plain"):
        open_image(b"hello", 10**6, "text/plain")
    with pytest.raises(NotAnImage):
        open_image(b"hello", 10**6, "image/png")


def test_what_the_sender_called_it_does_not_matter_for_a_good_image() -> None:
    assert open_image(encode(draw(1)), 10**6, "text/plain").format == "PNG"


def test_a_bomb_is_known_by_its_header() -> None:
    for width, height in ((5001, 5000), (30_000, 30_000), (65_000, 65_000)):
        with pytest.raises(TooManyPixels):
            open_image(png_header(width, height), 25_000_000)


def test_empty() -> None:
    with pytest.raises(NotAnImage, match="empty"):
        open_image(b"", 10**6)


def test_a_tile_larger_than_the_picture_counts() -> None:
    """It is decoded as a whole."""
    tags = {256: 60, 257: 60, 258: 8, 259: 8, 262: 1, 277: 1, 322: 16_000, 323: 16_000, 324: 200, 325: 100}
    with pytest.raises(TooManyPixels):
        open_image(tiff(tags), 25_000_000)


def test_the_limit_of_pixels_is_ours_alone() -> None:
    assert open_image(png_header(15_000, 12_000), 500_000_000).size == (15_000, 12_000)


def test_a_webp_picture_may_have_half_as_many_pixels() -> None:
    """Pillow takes twice the memory for each of them."""
    picture = Image.new("L", (40, 40), 255)
    for kind, most in (("PNG", 1600), ("WEBP", 3200)):
        assert open_image(encode(picture, kind), most).size == (40, 40)
        with pytest.raises(TooManyPixels, match=f"{kind} image has 40 x 40 pixels"):
            open_image(encode(picture, kind), most - 2)
