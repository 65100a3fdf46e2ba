"""Pictures of digits: any number, of any size, without data to download."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from training.synthetic import digits


def draw(digit: int, side: int, angle: float = 0.0) -> Image.Image:
    """A printed digit, grey, light on a black background, rotated by ``angle`` degrees."""
    scale = 4  # drawn larger and reduced, so that edges are soft
    image = Image.new("L", (side * scale, side * scale))
    middle = side * scale // 2
    font = ImageFont.load_default(side * scale * 0.75)
    ImageDraw.Draw(image).text((middle, middle), str(digit), 255, font, anchor="mm", stroke_width=side * scale // 40)
    return image.rotate(angle, Image.Resampling.BICUBIC).resize((side, side), Image.Resampling.LANCZOS)


def small(count: int) -> NDArray[np.uint8]:
    """Synthetic handwriting, placed as in MNIST.

    Not printed digits: a quarter of those would reach the last stage of the cascade, and of MNIST's one in a hundred.

    Returns:
        uint8 (count, 28, 28), background 0.
    """
    return digits.make(count, seed=0).images


def paper(width: int, height: int) -> Image.Image:
    """A seven, dark on paper in uneven light, in colour, as a camera gives it."""
    side = min(width, height) // 2
    foreground = Image.new("L", (width, height))
    foreground.paste(draw(7, side), ((width - side) // 2, (height - side) // 2))
    light = np.linspace(190, 245, width)[None] + np.random.default_rng(0).normal(0, 3, (height, width))
    grey = light * (1 - np.asarray(foreground) / 255 * 0.8)
    tint = np.array([1.0, 0.97, 0.9])
    return Image.fromarray((grey[..., None] * tint).clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, form: str = "PNG") -> bytes:
    """The bytes of a file. form: PNG or JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


def uploads() -> dict[str, bytes]:
    """A seven in the forms in which it may come, smallest first."""
    return {
        "28x28 PNG, dark background": encode(draw(7, 28)),
        "28x28 PNG, light background": encode(ImageOps.invert(draw(7, 28))),
        "280x280 PNG": encode(ImageOps.invert(draw(7, 280))),
        "600x600 PNG": encode(ImageOps.invert(draw(7, 600))),
        "1200x1600 JPEG": encode(paper(1200, 1600), "JPEG"),
    }
