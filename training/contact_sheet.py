"""A contact sheet: pictures as they are, what the network sees of them, and what it answers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from app.errors import ImageError
from app.vision.decode import decode, open_image
from app.vision.image_ops import SIDE as IMAGE_SIDE
from app.vision.pipeline import preprocess
from training.image_folder import Answer, Picture

# The service's own default, width times height.
MAX_PIXELS = 25_000_000

# Pixels of a picture's side, of the lines of text under it, and pairs a row.
SIDE, TEXT_HEIGHT, COLUMNS = 112, 26, 8

# Behind transparent pixels: a colour that no pen and no paper has.
BEHIND = (224, 176, 255)

WHITE, RED, BACKGROUND = "#ffffff", "#ff6060", "#404040"


def seen(pictures: Sequence[Picture]) -> NDArray[np.uint8]:
    """What the network reads of each, uint8 (n, 28, 28), empty where the picture cannot be read."""
    images = [_preprocess(picture.path) for picture in pictures]
    return np.array(images, np.uint8).reshape(-1, IMAGE_SIDE, IMAGE_SIDE)


def _preprocess(path: Path) -> NDArray[np.uint8]:
    try:
        return preprocess(path.read_bytes(), MAX_PIXELS).image
    except ImageError:
        return np.zeros((IMAGE_SIDE, IMAGE_SIDE), np.uint8)


def sheet(pictures: Sequence[Picture], images: NDArray[np.uint8], answers: Sequence[Answer], path: Path) -> None:
    """Draw each picture and what the network sees; below them the name, the label, the answer and its confidence.

    The text is red where the answer is not the label.

    Args:
        pictures: in the order in which they are drawn.
        images: what the network sees of each, uint8 (n, 28, 28).
        answers: to each.
        path: the picture file to write.
    """
    width, height = 2 * SIDE + 6, SIDE + TEXT_HEIGHT
    columns = min(COLUMNS, len(pictures))
    page = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height), BACKGROUND)
    pen = ImageDraw.Draw(page)
    for number, (picture, image, answer) in enumerate(zip(pictures, images, answers, strict=True)):
        x, y = number % columns * width, number // columns * height
        page.paste(_thumbnail(picture.path), (x, y))
        page.paste(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.NEAREST), (x + SIDE + 2, y))
        said = answer.rejection
        if answer.digit is not None:
            said = f"read {answer.digit} ({answer.confidence:.0%}) {answer.rejection}"
        label = "" if picture.label is None else f"{picture.label}, "
        colour = WHITE if picture.label in (None, answer.digit) else RED
        pen.text((x + 2, y + SIDE), f"{picture.source}/{picture.name}"[:34], fill=colour)
        pen.text((x + 2, y + SIDE + 12), (label + said)[:34], fill=colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def _thumbnail(path: Path) -> Image.Image:
    """The picture upright and within a square; grey and empty where it cannot be read."""
    try:
        picture = decode(open_image(path.read_bytes(), MAX_PIXELS))
    except ImageError:
        return Image.new("RGB", (SIDE, SIDE), "#808080")
    small = ImageOps.contain(picture.convert("RGBA"), (SIDE, SIDE))
    return Image.alpha_composite(Image.new("RGBA", small.size, BEHIND), small).convert("RGB")
