"""Whatever the colours, and what is behind transparent places."""

from PIL import Image

from tests.support.images import draw
from tests.support.pictures import distance, image_of


def test_colours_do_not_matter() -> None:
    reference = image_of(draw(3))
    for colours in (
        ("white", "black"),
        ("black", "white"),
        ((250, 240, 200), (30, 40, 120)),
        ((20, 60, 40), (240, 240, 220)),
        ((0, 120, 0), (230, 20, 20)),  # red on green of nearly the same brightness
        ((120, 120, 120), (90, 90, 90)),
        *(((255, 255, 255), (level, level, level)) for level in (242, 238, 230)),  # very faint
    ):
        assert distance(image_of(draw(3, (280, 280), *colours)), reference) < 4, colours


def test_strokes_on_a_transparent_background() -> None:
    reference = image_of(draw(4))
    colours = [((0, 0, 0, 0), stroke) for stroke in ("black", (200, 30, 30, 255))]
    colours += [((255, 255, 255, 0), (level, level, level, 255)) for level in (255, 254, 240, 230, 200)]  # nearly white
    for background, stroke in colours:
        image = draw(4, ground=background, ink=stroke, mode="RGBA")
        assert distance(image_of(image), reference) < 4, (background, stroke)


def test_a_palette_with_a_transparent_colour() -> None:
    image = draw(4).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    background = image.getpixel((0, 0))
    assert distance(image_of(image, "PNG", transparency=background), image_of(draw(4))) < 4
