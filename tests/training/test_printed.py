"""Printed letters, which are learned as pictures without a digit."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.synthetic import ood, printed
from training.synthetic.render import CANVAS_SIDE


def test_every_font_has_every_letter_within_the_canvas() -> None:
    """A letter that a font lacks is drawn as the font's box for that, the same for all."""
    for face in printed.FACES:
        missing = np.asarray(printed.letter(face, "\U0010fffe", CANVAS_SIDE))
        for sign in printed.LETTERS:
            image = np.asarray(printed.letter(face, sign, CANVAS_SIDE))
            assert image.max() == 255, (face, sign)
            assert not np.array_equal(image, missing), (face, sign)
            assert not np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).any(), (face, sign)


def test_no_letter_can_pass_for_a_digit() -> None:
    assert not set(printed.LETTERS) & set("BbDgIiJjlOoQqSsyZz0123456789ΒβΖΘΙΛΟοσОоСсЗзбвЧчЭэ∞§")  # noqa: RUF001
    assert len(set(printed.LETTERS)) == len(printed.LETTERS)


def test_letters_are_many_and_follow_from_the_seed() -> None:
    some = [
        [np.asarray(printed.random_letter(random, CANVAS_SIDE)).tobytes() for _ in range(60)]
        for random in map(np.random.default_rng, (1, 1, 2))
    ]
    assert some[0] == some[1] != some[2]
    assert len(set(some[0])) == 60


def test_a_third_of_the_letters_that_are_learned_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    draw = printed.random_letter

    def counted(*arguments: Any) -> Image.Image:
        nonlocal count
        count += 1
        return draw(*arguments)

    monkeypatch.setattr(printed, "random_letter", counted)
    random = np.random.default_rng(0)
    for _ in range(200):
        ood._letter(random, np.zeros((1, 28, 28), np.uint8))
    assert 50 < count < 90
