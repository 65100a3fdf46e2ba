"""Draws docs/images/upload.png: ``python -m training.upload_picture``.

Four uploads, what the network sees of each, and the answer of the version that serves.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from app.registry import store
from training import contact_sheet
from training.evaluate import answers
from training.image_folder import Answer, Picture
from training.synthetic import photos

ROOT = Path(__file__).parent.parent
IMAGES, MODELS, OUTPUT = ROOT / "tests/images", ROOT / "models/digits", ROOT / "docs/images/upload.png"

# What is said above each upload, its file, and the scene that the digit in the file is laid into.
UPLOADS = (
    ("a photo with shadows", "two.gif", "shadow of a hand"),
    ("a drawing on a screen", "five.webp", None),
    ("a scanned form", "three.jpg", "in a box"),
    ("a picture of two digits", "several.png", None),
)

FOREGROUND, MUTED, ACCEPTED, REJECTED, FRAME = "#1f2328", "#59636e", "#1a7f37", "#bc4c00", "#d1d9e0"
DPI = 150

PAPER = np.array([1.0, 0.97, 0.9])  # its colour: red, green, blue


def draw(output: Path = OUTPUT) -> None:
    """Make the uploads, have the service answer them, and draw all."""
    with tempfile.TemporaryDirectory() as folder:
        pictures = [_upload(Path(folder), name, scene) for _, name, scene in UPLOADS]
        images = contact_sheet.seen(pictures)
        given = answers(store.verify(MODELS / str(store.current(MODELS))).path, pictures)
        originals = [np.asarray(Image.open(picture.path).convert("RGB")) for picture in pictures]
    figure = Figure(figsize=(10, 5.6))
    for column, (title, *_) in enumerate(UPLOADS):
        left = 0.135 + 0.218 * column
        figure.text(left + 0.095, 0.955, title, fontsize=11, color=FOREGROUND, ha="center")
        _box(figure.add_axes((left, 0.595, 0.19, 0.34)), originals[column])
        _box(figure.add_axes((left + 0.025, 0.215, 0.14, 0.25)), images[column])
        _arrow(figure, left + 0.095, 0.575, 0.485)
        _arrow(figure, left + 0.095, 0.2, 0.15)
        _tell(figure, left + 0.095, given[column])
    for y, text in ((0.76, "upload"), (0.33, "what the\nnetwork sees,\n28x28"), (0.08, "answer")):
        figure.text(0.012, y, text, fontsize=11, color=MUTED, va="center", linespacing=1.4)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=DPI, facecolor="white")


def _upload(folder: Path, name: str, scene: str | None) -> Picture:
    """The file as it is, or its digit in a scene, as a photo in the folder."""
    picture = Picture(IMAGES / name, None)
    if scene is None:
        return picture
    digit = contact_sheet.seen([picture])[0]
    path = folder / f"{scene}.jpg"
    page = photos.SCENES[scene](digit, np.random.default_rng(2))
    Image.fromarray(np.clip(page[..., None] * PAPER, 0, 255).astype(np.uint8)).save(path, "JPEG", quality=92)
    return Picture(path, None)


def _box(axes: Axes, picture: NDArray[np.uint8]) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest" if picture.ndim == 2 else None)
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_color(FRAME)


def _arrow(figure: Figure, x: float, start: float, end: float) -> None:
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_axis_off()
    axes.annotate("", (x, end), (x, start), arrowprops={"arrowstyle": "-|>", "color": MUTED, "linewidth": 1.2})


def _tell(figure: Figure, x: float, answer: Answer) -> None:
    """The digit and its probability, or why it is rejected."""
    lines: Sequence[tuple[float, str, float, str, str]] = (
        (0.1, str(answer.digit), 22, ACCEPTED, "bold"),
        (0.03, f"confidence {np.floor(1e4 * answer.confidence) / 1e4:.4f}", 10, MUTED, "normal"),
    )
    if answer.rejection:
        lines = (
            (0.1, "rejected", 15, REJECTED, "bold"),
            (0.03, f'"reason": "{answer.rejection.replace(" ", "_")}"', 10, MUTED, "normal"),
        )
    for y, text, size, colour, weight in lines:
        figure.text(x, y, text, fontsize=size, color=colour, weight=weight, ha="center", va="center")


if __name__ == "__main__":
    draw()
