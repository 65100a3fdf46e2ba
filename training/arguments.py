"""The options that several commands share."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from training import recipes

MAX_NUMBER = 10**9  # libraries take seeds of 32 bits, and nobody needs more of anything else


def add_recipe(to: argparse.ArgumentParser) -> None:
    """Options that choose a recipe."""
    to.add_argument("name", nargs="?", metavar="NAME", help=f"one of: {', '.join(recipes.names())}; default: default")
    to.add_argument(
        "--recipe",
        metavar="FILE",
        help="a recipe as a TOML file; or FILE.py:FUNCTION or package.module:FUNCTION that returns a Keras model from "
        "28x28 pixels to ten softmax probabilities",
    )


def add_data(to: argparse.ArgumentParser) -> None:
    """Options that choose the data."""
    to.add_argument("--data", type=Path, help="folder of the four MNIST files; else DIGITS_DATA, else a download")
    to.add_argument("--no-verify", dest="verify", action="store_false", help="take other data in this format")


def add_models(to: argparse.ArgumentParser) -> None:
    """The folder of the versions."""
    to.add_argument("--models", type=Path, default=Path("models/digits"), help="folder of the versions")


def add_publishing(to: argparse.ArgumentParser) -> None:
    """Options of a command that publishes."""
    add_models(to)
    to.add_argument("--activate", action="store_true", help="let the new version serve")


def add_precision(to: argparse.ArgumentParser) -> None:
    """The precision of the training."""
    to.add_argument(
        "--precision",
        choices=("float32", "mixed_bfloat16"),
        default="float32",
        help="of the arithmetic in training; bfloat16 is faster on processors that have it",
    )


def add_training(to: argparse.ArgumentParser) -> None:
    """Options of a training."""
    to.add_argument("--seed", type=whole_number(0), default=0)
    to.add_argument("--epochs", type=whole_number(1), help="instead of the recipe's own number")
    add_precision(to)
    to.add_argument("--run", type=Path, help="folder of the checkpoints; default below runs/")
    to.add_argument("--fresh", action="store_true", help="start over instead of resuming")


def whole_number(least: int) -> Callable[[str], int]:
    """The type of an option that is a whole number."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text[:20]) <= MAX_NUMBER:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, not {text!r}")
        return int(text)

    return parse


def share(text: str) -> float:
    """The type of an option that is a share between 0 and 1."""
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1, not {text!r}")
    return share
