"""JPEG files of odd structure: without an end, with a film behind it, of more than 8 bits."""

import io
import random
import struct

import numpy as np
import pytest
from PIL import Image

from app.errors import NotAnImage, UnsupportedImage
from app.vision.decode import decode, open_image
from app.vision.jpeg import read_markers
from app.vision.pipeline import preprocess
from tests.support.images import draw, encode
from tests.support.pictures import MAX_PIXELS, image_of

KINDS: tuple[dict[str, object], ...] = ({}, {"progressive": True}, {"restart_marker_blocks": 2}, {"optimize": True})


def grainy() -> Image.Image:
    """A picture of which each part differs from what a decoder makes up."""
    grain = np.random.default_rng(0).normal(0, 20, (70, 90, 3))
    return Image.fromarray((np.asarray(draw(8, (90, 70))) + grain).clip(0, 255).astype(np.uint8))


def test_a_motion_photo() -> None:
    """The film behind the picture holds any bytes, those of a start of a scan among them."""
    photo = encode(draw(6), "JPEG")
    film = b"\0\0\0\x18ftypmp42" + random.Random(0).randbytes(2**20) + b"\xff\xda" * 1000
    assert np.array_equal(preprocess(photo + film, MAX_PIXELS).image, image_of(draw(6), "JPEG"))


def test_several_pictures_in_a_file() -> None:
    buffer = io.BytesIO()
    others = [draw(1)] * 120
    draw(6).save(buffer, "MPO", save_all=True, append_images=others)
    content = buffer.getvalue()
    assert open_image(content, MAX_PIXELS).format == "MPO"
    assert np.array_equal(preprocess(content, MAX_PIXELS).image, image_of(draw(6), "JPEG"))


def test_thumbnails_in_metadata_are_no_scans() -> None:
    thumbnail = encode(draw(6, (40, 40)), "JPEG")
    photo = encode(draw(6), "JPEG")
    segment = b"\xff\xe2" + struct.pack(">H", 2 + 8 * len(thumbnail)) + 8 * thumbnail
    content = photo[:2] + 20 * segment + photo[2:]
    assert read_markers(content) == read_markers(photo)
    assert read_markers(photo).scans == 1
    assert np.array_equal(preprocess(content, MAX_PIXELS).image, image_of(draw(6), "JPEG"))


def test_scans_are_counted() -> None:
    for options, scans in (({}, 1), ({"progressive": True}, 10), ({"restart_marker_blocks": 1}, 1)):
        content = encode(grainy(), "JPEG", **options)
        assert read_markers(content).scans == scans, options
        # Any marker may be filled up with 0xFF.
        assert read_markers(content.replace(b"\xff\xda", b"\xff\xff\xff\xda")).scans == scans, options


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded() -> None:
    """Every scan goes over the whole picture again, so a small file could hold a thread for minutes."""
    content = encode(draw(1, (64, 64)), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    scan = content[start:-2]
    assert open_image(content, 10**6).format == "JPEG"
    for many in (scan * 200, scan.replace(b"\xff\xda", b"\xff\xff\xda") * 200, (scan + b"\xff\xd0junk") * 200):
        for end in (content[-2:], b""):
            with pytest.raises(NotAnImage, match="scans"):
                open_image(content[:start] + many + end, 10**6)


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


def test_without_its_end_marker_it_is_read() -> None:
    for options in KINDS:
        content = encode(grainy(), "JPEG", **options)
        whole = decode(open_image(content, MAX_PIXELS)).tobytes()
        for left in (content[:-2], content[:-1]):
            assert decode(open_image(left, MAX_PIXELS)).tobytes() == whole, options


def test_cut_short_it_is_not() -> None:
    """A decoder makes up the rest, which may be a part of the digit."""
    for options in KINDS:
        content = encode(grainy(), "JPEG", **options)
        if "progressive" in options:  # cut between two scans, it is whole, if not as sharp
            steps = range(content.rindex(b"\xff\xda") + 20, len(content) - 2, 7)
        else:
            steps = range(content.index(b"\xff\xda") + 20, len(content) - 2, 29)
        for length in steps:
            with pytest.raises(NotAnImage, match="cut short"):
                decode(open_image(content[:length], MAX_PIXELS))


def test_other_kinds_are_named() -> None:
    content = bytearray(encode(draw(6), "JPEG"))
    frame = content.index(b"\xff\xc0")
    for bits in (12, 16):
        content[frame + 4] = bits
        with pytest.raises(UnsupportedImage, match=f"a JPEG of {bits} bits a channel; save it with 8 bits"):
            open_image(bytes(content), MAX_PIXELS, "image/jpeg")
    content[frame + 1] = 0xF7
    with pytest.raises(UnsupportedImage, match="JPEG-LS"):
        open_image(bytes(content), MAX_PIXELS)
