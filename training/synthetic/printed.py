"""Printed letters, from the fonts that come with matplotlib."""

import functools
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont

# Font files that have all of LETTERS.
FACES = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralItalic",
    "STIXGeneralBolIta",
)

# Latin, Greek and Cyrillic letters and a few signs, without those that can pass for a digit in some font:
# B b D g I i J j l O o Q q S s y Z z; the Greek Beta, beta, delta, Zeta, zeta, Theta, Iota, iota, Lambda, Omicron,
# omicron, rho, sigma, upsilon; the Cyrillic Be, Ve, Ze, O, Es, U, Che, E, the hard and the soft sign; infinity and the
# section sign.
LETTERS = (
    "ACEFGHKLMNPRTUVWXY"
    "acdefhkmnprtuvwx"
    "ΓΔΕΗΚΞΠΡΣΥΦΧΨΩ"
    "αγεηθκλμνξπτφχψω"
    "АГДЕЖИЙКЛМНПРТФХЦШЩЮЯ"
    "агдежийкмнптфцшщюя"
    "&%@#?+=±¶€£¥"
)

FONT_SIZE = 96  # pixels


@functools.cache
def _font(face: str) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    return ImageFont.truetype(path, FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def letter(face: str, sign: str, side: int) -> Image.Image:
    """A sign in the centre of a square grey picture of ``side`` pixels, foreground 255 on background 0."""
    image = Image.new("L", (side, side))
    left, top, right, bottom = _font(face).getbbox(sign)
    place = ((side - left - right) / 2, (side - top - bottom) / 2)
    ImageDraw.Draw(image).text(place, sign, fill=255, font=_font(face))
    return image


def random_letter(random: np.random.Generator, side: int) -> Image.Image:
    """A random letter in a random font, slanted, narrowed or widened a little; sometimes in outline."""
    image = letter(FACES[random.integers(len(FACES))], LETTERS[random.integers(len(LETTERS))], side)
    width, slant = random.uniform(0.75, 1.25), random.uniform(-0.35, 0.25)
    # Pillow maps from each new pixel to the one that it comes from; this map keeps the centre.
    centre = side / 2
    map_back = (1 / width, slant, centre - centre / width - slant * centre, 0, 1, 0)
    image = image.transform((side, side), Image.Transform.AFFINE, map_back, Image.Resampling.BILINEAR)
    if random.random() < 0.1:
        shift = int(random.integers(4, 9))
        image = ImageChops.subtract(image, ImageChops.offset(image, shift, shift))
    return image
