"""Digits drawn from strokes, so that tests need no data of anybody's."""

import base64
import gzip
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from app.vision.normalise import normalise
from tests.support.paths import IMAGES

SEVEN = (IMAGES / "seven-28x28.png").read_bytes()

Point = tuple[float, float]


def _arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> list[Point]:
    angles = np.deg2rad(np.linspace(start, end, 24))
    return [(x + rx * float(np.cos(a)), y + ry * float(np.sin(a))) for a in angles]


# In a box of 100 by 140, y downwards.
STROKES: dict[int, list[list[Point]]] = {
    0: [_arc(50, 70, 42, 66, 0, 360)],
    1: [[(30, 30), (56, 6), (52, 134)]],
    2: [[*_arc(48, 40, 38, 34, 190, 380), (14, 130)], [(14, 130), (90, 128)]],
    3: [_arc(44, 38, 36, 32, 200, 440), _arc(44, 100, 42, 34, -80, 160)],
    4: [[(62, 4), (8, 92), (94, 90)], [(66, 50), (60, 136)]],
    5: [[(84, 6), (26, 8), (20, 64)], _arc(44, 92, 42, 40, -130, 140)],
    6: [[*_arc(86, 86, 76, 84, 275, 200)[:14], *_arc(48, 96, 38, 38, 200, 560)]],
    7: [[(10, 10), (90, 8), (44, 136)]],
    8: [_arc(50, 38, 32, 32, 90, 450), _arc(50, 102, 40, 34, -90, 270)],
    9: [_arc(50, 42, 36, 36, 0, 360), [(86, 42), (80, 90), (64, 136)]],
}


def draw(digit: int, size: tuple[int, int] = (280, 280), ground: Any = "white", ink: Any = "black", width: float = 0.07,
         mode: str = "RGB", height: float = 0.6) -> Image.Image:  # fmt: skip
    """The digit in the middle. width, height: of the stroke and of the digit, as shares of the shorter side."""
    image = Image.new(mode, size, ground)
    pen = ImageDraw.Draw(image)
    scale, thick = min(size) * height / 140, min(size) * width
    left, top = size[0] / 2 - 50 * scale, size[1] / 2 - 70 * scale
    for stroke in STROKES[digit]:
        points = [(left + x * scale, top + y * scale) for x, y in stroke]
        pen.line(points, fill=ink, width=round(thick), joint="curve")
        for x, y in points:
            pen.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=ink)
    return image


def handwritten(digit: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """A 28x28 digit on a dark background, each a little different, like MNIST's in size and place."""
    picture = draw(digit, (112, 112), 0, 255, random.uniform(0.07, 0.12), "L", 0.7)
    a, b, c, d = np.eye(2).ravel() + random.normal(0, 0.12, 4)
    x, y = 56 - np.array([[a, b], [c, d]]) @ (56, 56) + random.normal(0, 3, 2)
    picture = picture.transform((112, 112), Image.Transform.AFFINE, (a, b, x, c, d, y), Image.Resampling.BILINEAR)
    return normalise(np.asarray(picture.filter(ImageFilter.GaussianBlur(2)), np.float32))


def write_idx(folder: Path, train: int, test: int, seed: int = 0) -> Path:
    """A folder with MNIST's four files, of drawn digits."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for prefix, count in (("train", train), ("t10k", test)):
        labels = random.integers(0, 10, count).astype(np.uint8)
        images = np.stack([handwritten(int(label), random) for label in labels])
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + values.tobytes()))
    return folder


def pixels(content: bytes = SEVEN) -> list[list[int]]:
    """The grey values of a picture's file, row by row."""
    return np.asarray(Image.open(io.BytesIO(content))).tolist()  # type: ignore[no-any-return]


def encode(image: Image.Image | NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it has this size, and holds next to nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()
