"""Handwritten digits in the styles of many countries, drawn from strokes."""

import dataclasses

import numpy as np

from training.data import Split
from training.synthetic import render, shapes
from training.synthetic.pixels import SIDE, Image28, Random

# The share of digits drawn as on a seven-segment display.
DISPLAY_SHARE = 0.07

# Digits that stay readable in a pen far thicker than usual, and the share of them drawn so, like bold type.
BOLD_DIGITS, BOLD_SHARE = (1, 7), 0.2


def make(count: int, seed: int | list[int]) -> Split:
    """Draw digits; each label about equally often, shuffled.

    Args:
        count: how many.
        seed: of the random generator; the same seed gives the same images.

    Returns:
        Images of ``count`` digits laid out as in MNIST, with their labels.
    """
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % 10).astype(np.uint8)
    images = np.zeros((count, SIDE, SIDE), np.uint8)
    known = shapes.load()
    for index, label in enumerate(labels):
        styles = list(known.digits[int(label)].values())
        on_display = random.random() < DISPLAY_SHARE
        skeleton = known.display[label] if on_display else styles[random.integers(len(styles))]
        bold = label in BOLD_DIGITS and random.random() < BOLD_SHARE
        images[index] = draw(skeleton, random, random.uniform(1.3, 1.8) if bold else 1.0)
    return Split(images, labels)


def draw(skeleton: str, random: Random, boldness: float = 1.0) -> Image28:
    """Draw a skeleton in a random hand, size and position as in MNIST.

    Args:
        skeleton: in the notation of ``shapes.toml``.
        random: chooses the hand.
        boldness: factor of the pen's width.

    Returns:
        uint8 (28, 28), background 0, foreground up to 255.
    """
    hand = render.random_hand(random)
    hand = dataclasses.replace(hand, width=boldness * hand.width)
    return render.normalise(render.handwriting(skeleton, hand, random))
