"""Letters as they are printed, from the fonts that come with the plotting library."""

import functools
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont

# Faces that have all of LETTERS.
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

# Latin, Greek and Cyrillic letters and a few signs, without those that can pass for a digit in some face or hand:
# B b D g I i J j l O o Q q S s y Z z; the Greek Beta, beta, delta, Zeta, zeta, Theta, Iota, iota, Lambda, Omicron,
# omicron, rho, sigma, upsilon; the Cyrillic Be, Ve, Ze, O, Es, U, Che, E, the hard and the soft sign; infinity and the
# section sign, an 8 that lies and one that is open.
LETTERS = (
    "ACEFGHKLMNPRTUVWXY"
    "acdefhkmnprtuvwx"
    "ΓΔΕΗΚΞΠΡΣΥΦΧΨΩ"
    "αγεηθκλμνξπτφχψω"
    "АГДЕЖИЙКЛМНПРТФХЦШЩЮЯ"
    "агдежийкмнптфцшщюя"
    "&%@#?+=±¶€£¥"
)

SIZE = 96


@functools.cache
def _font(face: str) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{face}.ttf"
    return ImageFont.truetype(path, SIZE, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def letter(face: str, sign: str, side: int) -> Image.Image:
    """A sign in the middle of a grey picture of that many pixels a side, ink 255 on ground 0."""
    image = Image.new("L", (side, side))
    left, top, right, bottom = _font(face).getbbox(sign)
    place = ((side - left - right) / 2, (side - top - bottom) / 2)
    ImageDraw.Draw(image).text(place, sign, fill=255, font=_font(face))
    return image


def any_letter(random: np.random.Generator, side: int) -> Image.Image:
    """A letter of any face, somewhat slanted, narrowed or widened; now and then in outline."""
    image = letter(FACES[random.integers(len(FACES))], LETTERS[random.integers(len(LETTERS))], side)
    width, slant = random.uniform(0.75, 1.25), random.uniform(-0.35, 0.25)
    # From each new pixel to the one it comes from, around the middle.
    middle = side / 2
    map_back = (1 / width, slant, middle - middle / width - slant * middle, 0, 1, 0)
    image = image.transform((side, side), Image.Transform.AFFINE, map_back, Image.Resampling.BILINEAR)
    if random.random() < 0.1:
        shift = int(random.integers(4, 9))
        image = ImageChops.subtract(image, ImageChops.offset(image, shift, shift))
    return image
