"""The time of each step of preprocessing, from the bytes of a picture to the 28x28 that the network reads."""

import argparse
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.vision.background import make_thumbnail, remove_background
from app.vision.brightness import shrink, to_brightness
from app.vision.components import find_components
from app.vision.decode import decode, open_image
from app.vision.normalise import normalise
from app.vision.pipeline import preprocess
from app.vision.ruled_lines import remove_ruled_lines
from app.vision.segmentation import segment

MAX_PIXELS = 25_000_000

# Of each step. The least time is what the work takes on an idle core.
MEASURING_SECONDS, MIN_REPETITIONS = 1.0, 5


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("reading", help=__doc__, description=__doc__)
    parser.set_defaults(command=run)


def run(_: argparse.Namespace) -> bool:
    """Print the table, in milliseconds of one core's time."""
    head = (
        "upload",
        "bytes to 28x28",
        "decode",
        "shrink",
        "brightness",
        "background",
        "segmentation",
        "of it ruled lines",
        "components",
        "normalise",
    )
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for name, content in _uploads().items():
        row = [_least(lambda content=content: preprocess(content, MAX_PIXELS)), *_steps(content)]  # type: ignore[misc]
        print(f"| {name} | " + " | ".join("" if step is None else f"{step:.2f}" for step in row) + " |", flush=True)
    return True


def _steps(content: bytes) -> list[float | None]:
    """Milliseconds of each step alone. A picture that goes through unchanged has few steps."""
    decoding = _least(lambda: decode(open_image(content, MAX_PIXELS)))
    picture = decode(open_image(content, MAX_PIXELS))
    view = shrink(picture)
    brightness = to_brightness(view)
    common = [decoding, _least(lambda: shrink(picture)), _least(lambda: to_brightness(view))]
    if np.array_equal(preprocess(content, MAX_PIXELS).image, brightness):
        return [*common, *[None] * 5]
    foreground = remove_background(brightness, make_thumbnail(brightness))
    digit = segment(foreground)
    assert digit is not None
    mask = foreground > 25  # about where it divides clean paper from strokes
    return [
        *common,
        _least(lambda: remove_background(brightness, make_thumbnail(brightness))),
        _least(lambda: segment(foreground)),
        _least(lambda: remove_ruled_lines(mask, mask)),
        _least(lambda: find_components(mask)),
        _least(lambda: normalise(digit.foreground)),
    ]


def _least(step: Callable[[], object]) -> float:
    times: list[int] = []
    end = time.monotonic() + MEASURING_SECONDS
    while len(times) < MIN_REPETITIONS or time.monotonic() < end:
        start = time.process_time_ns()
        step()
        times.append(time.process_time_ns() - start)
    return min(times) / 1e6


def _uploads() -> dict[str, bytes]:
    return {
        "28x28 PNG, dark background": _encode(255 - _drawn(28, 28)),
        "28x28 PNG, light background": _encode(_drawn(28, 28)),
        "280x280 PNG, RGB": _encode(_coloured(_drawn(280, 280))),
        "600x600 PNG, grey": _encode(_drawn(600, 600)),
        "600x600 PNG, RGB": _encode(_coloured(_drawn(600, 600))),
        "600x600 JPEG": _encode(_photo(600, 600), "JPEG"),
        "1200x1600 JPEG": _encode(_photo(1200, 1600), "JPEG"),
        "4000x3000 JPEG": _encode(_photo(4000, 3000), "JPEG"),
    }


def _drawn(width: int, height: int) -> NDArray[np.uint8]:
    """A round-cornered 5, dark on white, drawn four times as large and averaged."""
    side = 4 * min(width, height, 700)
    large = Image.new("L", (side, side), 255)
    pen = ImageDraw.Draw(large)
    stroke = round(side * 0.07)
    places = [(0.68, 0.2), (0.36, 0.2), (0.33, 0.47)]
    pen.line([(side * x, side * y) for x, y in places], 20, stroke, "curve")
    pen.arc((side * 0.27, side * 0.4, side * 0.72, side * 0.82), -130, 140, 20, stroke)
    return np.asarray(large.resize((width, height), Image.Resampling.BOX if width < side else Image.Resampling.BICUBIC))


def _coloured(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.stack([values, values, np.maximum(values, 90)], axis=2)


def _photo(width: int, height: int) -> NDArray[np.uint8]:
    """In uneven light and with the grain of a sensor."""
    light = np.linspace(0.7, 0.95, width)[None, :, None]
    grain = np.random.default_rng(0).normal(0, 4, (height, width, 1))
    values: NDArray[np.uint8] = (_coloured(_drawn(width, height)) * light + grain).clip(0, 255).astype(np.uint8)
    return values


def _encode(values: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind)
    return buffer.getvalue()
