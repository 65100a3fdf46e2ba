"""Pictures as people send them, drawn: digits on paper, several in a row, files of odd structure."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.vision.pipeline import PreprocessedImage, preprocess
from tests.support.images import draw, encode

MAX_PIXELS = 25_000_000

Page = NDArray[np.float64]  # brightness, 0 to 1
Pixels = NDArray[np.uint8]


def preprocessed(picture: Image.Image | Pixels, kind: str = "PNG", **options: object) -> PreprocessedImage:
    """What the pipeline makes of a picture in a file of this format."""
    return preprocess(encode(picture, kind, **options), MAX_PIXELS)


def image_of(picture: Image.Image | Pixels, kind: str = "PNG", **options: object) -> Pixels:
    """What the network reads of it: uint8 (28, 28)."""
    return preprocessed(picture, kind, **options).image


def distance(one: Pixels, other: Pixels) -> float:
    """Mean difference in grey levels.

    A centre of mass close to a boundary may round either way, so a shift by one pixel is no difference.
    """
    shifted = [np.roll(one, (dy, dx), (0, 1)).astype(int) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return float(min(np.abs(image - other).mean() for image in shifted))


def page(digit: int, size: tuple[int, int] = (280, 280), width: float = 0.07, height: float = 0.6) -> Page:
    """Dark grey on light grey, off white and black as on paper."""
    return np.asarray(draw(digit, size, 235, 50, width, "L", height)) / 255


def photo(brightness: Page, noise: float = 0.012) -> Pixels:
    """The page with the grain of a sensor."""
    grain = np.random.default_rng(0).normal(0, noise, brightness.shape)
    return np.rint(((brightness + grain) * 255).clip(0, 255)).astype(np.uint8)


def rule(page: Page, step: int, thick: int, level: float, tilt: float) -> Page:
    """The page with level lines, as if printed before it was written on."""
    y, x = np.mgrid[: page.shape[0], : page.shape[1]]
    return np.where((y + tilt * x + 11) % step < thick, np.minimum(page, level), page)


def frame(page: Page, rounded: bool, inset: int = 30, tilt: float = 0.0) -> Page:
    """The page with a box or a ring of thin lines around its middle."""
    picture = Image.new("L", page.shape[::-1])
    place = (inset, inset, page.shape[1] - inset, page.shape[0] - inset)
    pen = ImageDraw.Draw(picture)
    pen.ellipse(place, outline=255, width=3) if rounded else pen.rectangle(place, outline=255, width=3)
    turned = np.asarray(picture.rotate(tilt, Image.Resampling.BILINEAR)) / 255
    return np.minimum(page, 1 - 0.75 * turned)


def row(*digits: int, pitch: int = 150, side: int = 280) -> Pixels:
    """The digits side by side, dark on light, each so many pixels from the one before."""
    paper = np.full((side, side + pitch * (len(digits) - 1)), 255, np.uint8)
    for number, digit in enumerate(digits):
        place = paper[:, number * pitch : number * pitch + side]
        np.minimum(place, np.asarray(draw(digit, (side, side), mode="L")), out=place)
    return paper


def crop_tightly(picture: Pixels) -> Pixels:
    """Cut where the strokes end."""
    rows, columns = np.flatnonzero((picture < 128).any(1)), np.flatnonzero((picture < 128).any(0))
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """One chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims this size and holds next to nothing."""
    chunks = [
        png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        png_chunk(b"IDAT", zlib.compress(b"\0" * 100)),
        png_chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(tags: dict[int, int], pixels: bytes = b"", big_endian: bool = False) -> bytes:
    """A TIFF of these tags, all of one number, with its pixels at offset 512."""
    order = ">" if big_endian else "<"
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    head = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(f"{order}IH", 8, len(tags))
    return (head + entries + bytes(4)).ljust(512, b"\0") + pixels
