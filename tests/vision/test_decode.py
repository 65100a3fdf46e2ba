"""Bytes that are no picture, or a hostile one."""

import io
import struct
import zlib

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.errors import ImageError, NotAnImage, TooManyPixels, UnsupportedImage
from app.vision.decode import load, open_image
from app.vision.read import read
from tests.samples import draw, encode

KINDS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims this size and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", KINDS)
def test_cut_short_anywhere(kind: str) -> None:
    content = encode(draw(8), kind)
    whole = load(open_image(content, 10**6)).convert("L").tobytes()
    for share in (0.02, 0.1, 0.3, 0.5, 0.8, 0.95):
        try:
            image = load(open_image(content[: int(len(content) * share)], 10**6))
        except NotAnImage:
            continue
        # A JPEG's or GIF's tail may hold nothing that is needed; then the picture must be whole.
        assert image.convert("L").tobytes() == whole


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bytes_never_raise_anything_else(kind: str) -> None:
    import random

    content, dice = encode(draw(8, (60, 60)), kind), random.Random(7)
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(dice.randint(1, 8)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        try:
            read(bytes(damaged), 10**6)
        except ImageError:
            pass


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"%PDF-1.7 ...", "PDF"),
        (b"  <svg xmlns=", "SVG"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"P5 2 2 255 abcd", "PGM"),
        (b"8BPS\0\1", "Photoshop"),
    ],
)
def test_other_formats_are_named_and_the_allowed_ones_listed(content: bytes, word: str) -> None:
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


@pytest.mark.parametrize(("width", "height"), [(5001, 5000), (30_000, 30_000), (65_000, 65_000)])
def test_a_bomb_is_known_by_its_header(width: int, height: int) -> None:
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
    side = {256: 60, 257: 60, 258: 8, 259: 8, 262: 1, 277: 1, 322: 16_000, 323: 16_000, 324: 200, 325: 100}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in side.items())
    content = b"II*\0" + struct.pack("<IH", 8, len(side)) + entries + struct.pack("<I", 0)
    with pytest.raises(TooManyPixels):
        open_image(content.ljust(400, b"\0"), 10**6)


@pytest.mark.parametrize("exif", [b"II+\0\x08\0\0\0", b"II*\0", b"nonsense"])
def test_damaged_exif_turns_nothing(exif: bytes) -> None:
    buffer = io.BytesIO()
    draw(7).save(buffer, "PNG", exif=exif)
    assert read(buffer.getvalue(), 10**6) is not None


def test_metadata_that_is_no_transparency() -> None:
    text = PngInfo()
    text.add_text("transparency", "of the public service")
    buffer = io.BytesIO()
    draw(7).save(buffer, "PNG", pnginfo=text)
    with pytest.raises(NotAnImage, match="save it anew"):
        read(buffer.getvalue(), 10**6)


def test_the_limit_of_pixels_is_ours_alone() -> None:
    assert open_image(png_header(15_000, 12_000), 500_000_000).size == (15_000, 12_000)


def test_a_webp_picture_may_have_half_as_many_pixels() -> None:
    """Pillow takes twice the memory for each of them."""
    picture = Image.new("L", (40, 40), 255)
    for kind, most in (("PNG", 1600), ("WEBP", 3200)):
        assert open_image(encode(picture, kind), most).size == (40, 40)
        with pytest.raises(TooManyPixels, match=f"{kind} image has 40 x 40 pixels"):
            open_image(encode(picture, kind), most - 2)
