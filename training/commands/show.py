"""The commands that show data and recipes: explore, recipes, describe."""

import argparse

from training import recipes
from training.commands import chosen_recipe, load_data


def explore(options: argparse.Namespace) -> None:
    """Print the shapes and label counts of the data, and draw its first nine images."""
    from training import plots

    digits = load_data(options)
    for name, split in (("training", digits.train), ("test", digits.test)):
        images, counts = split.images, [int((split.labels == digit).sum()) for digit in range(10)]
        print(
            f"{name}: images {images.shape} {images.dtype} {images.min()} to {images.max()}, "
            f"labels {split.labels.shape}"
        )
        print("  " + ", ".join(f"{digit}: {count:,}" for digit, count in enumerate(counts)))
    plots.samples(digits.train, options.output)
    print(f"the first nine training images: {options.output}")


def list_recipes(options: argparse.Namespace) -> None:
    """List the names of all recipes that come with the program."""
    print("\n".join(recipes.names()))


def describe(options: argparse.Namespace) -> None:
    """Print a recipe's layers: output shape, parameters, MACs and receptive field."""
    from training.describe import table

    print(table(chosen_recipe(options)))
