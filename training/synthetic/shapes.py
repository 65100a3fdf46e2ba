"""The strokes and outlines of ``shapes.toml``."""

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Shapes:
    """All shapes that the program draws, as text; ``shapes.toml`` explains the notation.

    Attributes:
        digits: skeletons of each digit by the name of the style.
        display: skeletons of 0 to 9 on a seven-segment display.
        letters: skeletons by the name of the letter or sign.
        outlines: skeletons of figures.
        clothes: polygons of clothes.
        things: polygons of other things.
        tools: polygons of slim things.
    """

    digits: dict[int, dict[str, str]]
    display: tuple[str, ...]
    letters: dict[str, str]
    outlines: tuple[str, ...]
    clothes: tuple[str, ...]
    things: tuple[str, ...]
    tools: tuple[str, ...]


@functools.cache
def load() -> Shapes:
    """Read the resource file, once."""
    values = tomllib.loads((resources.files(__package__) / "shapes.toml").read_text(encoding="utf-8"))
    segments = values["display"]["segments"]
    return Shapes(
        digits={int(digit): styles for digit, styles in values["digits"].items()},
        display=tuple(" | ".join(segments[name] for name in lit) for lit in values["display"]["lit"]),
        letters=values["letters"],
        **{name: tuple(shapes) for name, shapes in values["figures"].items()},
    )
