"""A contact sheet: pictures as they are, what the network sees of them, and what it answers."""

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from training.errors import TrainingError
from training.image_folder import Answer, Picture

# Pixels of a picture's side and of the text below it; pairs of pictures a row.
SIDE, TEXT_HEIGHT, COLUMNS = 112, 26, 8

# Behind transparent pixels: a colour that no pen and no paper has.
BEHIND = (224, 176, 255)

WHITE, RED, BACKGROUND = "#ffffff", "#ff6060", "#404040"


def seen(pictures: Sequence[Picture]) -> NDArray[np.uint8]:
    """What the network reads of each, uint8 (n, 28, 28), empty where the picture cannot be read.

    Asked of the service's own code in a process of its own. Raises TrainingError when that breaks.
    """
    done = subprocess.run(  # our own command
        [sys.executable, "-m", "app.vision"],
        input=b"\0".join(os.fsencode(picture.path.resolve()) for picture in pictures),
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise TrainingError(f"the pictures cannot be read: {done.stderr.decode(errors='replace').strip()[-200:]}")
    images: NDArray[np.uint8] = np.load(io.BytesIO(done.stdout))
    return images


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
    """The picture upright and within a square; plain grey where it cannot be read."""
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            deep = upright.mode.startswith("I") or upright.mode == "F"
            shown = Image.fromarray(_stretched(np.asarray(upright))) if deep else upright
            small = ImageOps.contain(shown.convert("RGBA"), (SIDE, SIDE))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return Image.new("RGB", (SIDE, SIDE), "#808080")
    background = Image.new("RGBA", small.size, BEHIND)
    return Image.alpha_composite(background, small).convert("RGB")


def _stretched(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Stretch integers of more than 8 bits, or floats, from black to white."""
    numbers = np.nan_to_num(values.astype(np.float64))
    levels: NDArray[np.uint8] = np.rint((numbers - numbers.min()) * (255 / max(float(np.ptp(numbers)), 1e-9))).astype(
        np.uint8
    )
    return levels
