"""Bytes to an upright 8-bit picture: every format, and bytes that are no picture, or a hostile one."""

import io
import random
import struct

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.errors import ImageError, NotAnImage, TooManyPixels, UnsupportedImage
from app.vision.decode import decode, open_image
from app.vision.pipeline import preprocess
from tests.samples import draw, encode, handwritten
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


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded() -> None:
    """Every scan goes over the whole picture again, so a small file could hold a thread for minutes."""
    content = encode(draw(1, (64, 64)), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    scan = content[start:-2]
    assert open_image(content, 10**6).format == "JPEG"
    with pytest.raises(NotAnImage, match="scans"):
        open_image(content[:start] + scan * 200 + content[-2:], 10**6)


def test_nor_are_they_hidden_by_a_name_for_several_pictures() -> None:
    """Where a block of type MPF says that another picture follows, Pillow calls the file MPO."""
    content = encode(draw(1, (64, 64)), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    entries = [struct.pack("<HHI4s", 0xB000, 7, 4, b"0100"), struct.pack("<HHII", 0xB001, 4, 1, 2)]
    entries.append(struct.pack("<HHII", 0xB002, 7, 32, 50))
    index = b"II*\0" + struct.pack("<IH", 8, 3) + b"".join(entries) + struct.pack("<I", 0)
    pictures = struct.pack("<IIIHH", 0x030000, len(content), 0, 0, 0) + struct.pack("<IIIHH", 0, 10, 100, 0, 0)
    block = b"MPF\0" + index + pictures
    marked = b"\xff\xe2" + struct.pack(">H", 2 + len(block)) + block
    content = content[:2] + marked + content[2:start] + content[start:-2] * 200 + content[-2:]
    with pytest.raises(NotAnImage, match="scans"):
        open_image(content, 10**6)


def test_a_tile_larger_than_the_picture_counts() -> None:
    """It is decoded as a whole."""
    tags = {256: 60, 257: 60, 258: 8, 259: 8, 262: 1, 277: 1, 322: 16_000, 323: 16_000, 324: 200, 325: 100}
    with pytest.raises(TooManyPixels):
        open_image(tiff(tags), 25_000_000)


def test_metadata_that_is_no_transparency() -> None:
    text = PngInfo()
    text.add_text("transparency", "of the public service")
    buffer = io.BytesIO()
    draw(7).save(buffer, "PNG", pnginfo=text)
    with pytest.raises(NotAnImage, match="save it anew"):
        preprocess(buffer.getvalue(), 10**6)


def test_the_limit_of_pixels_is_ours_alone() -> None:
    assert open_image(png_header(15_000, 12_000), 500_000_000).size == (15_000, 12_000)


def test_a_webp_picture_may_have_half_as_many_pixels() -> None:
    """Pillow takes twice the memory for each of them."""
    picture = Image.new("L", (40, 40), 255)
    for kind, most in (("PNG", 1600), ("WEBP", 3200)):
        assert open_image(encode(picture, kind), most).size == (40, 40)
        with pytest.raises(TooManyPixels, match=f"{kind} image has 40 x 40 pixels"):
            open_image(encode(picture, kind), most - 2)
