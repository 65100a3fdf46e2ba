"""Letters from fonts, which are learned as what is no digit."""

import numpy as np
import pytest
from PIL import Image

from app.vision.image_ops import SIDE
from training import drawing, printed

CANVAS = drawing.CANVAS


@pytest.mark.parametrize("face", printed.FACES)
def test_a_face_has_every_letter(face: str) -> None:
    """A sign that a font lacks is drawn as its box for that, the same for all."""
    missing = np.asarray(printed.letter(face, "\U0010fffe", CANVAS))
    for sign in printed.LETTERS:
        drawn = np.asarray(printed.letter(face, sign, CANVAS))
        assert drawn.max() == 255
        assert not np.array_equal(drawn, missing), sign


def test_none_reaches_over_the_edge() -> None:
    for face in printed.FACES:
        for sign in printed.LETTERS:
            drawn = np.asarray(printed.letter(face, sign, CANVAS))
            assert not np.concatenate([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]]).any(), (face, sign)


def test_none_can_pass_for_a_digit() -> None:
    assert not set(printed.LETTERS) & set("BbDgIiJjlOoQqSsyZz0123456789ΒβΖΘΙΛΟοσОоСсЗзбвЧчЭэ∞§")  # noqa: RUF001
    assert len(set(printed.LETTERS)) == len(printed.LETTERS)


def test_they_are_many_and_follow_from_the_seed() -> None:
    some = [
        [np.asarray(printed.any_letter(random, CANVAS)).tobytes() for _ in range(60)]
        for random in map(np.random.default_rng, (1, 1, 2))
    ]
    assert some[0] == some[1] != some[2]
    assert len(set(some[0])) == 60


def test_a_third_of_the_letters_that_are_learned_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = 0
    draw = printed.any_letter

    def counted(random: np.random.Generator, side: int) -> Image.Image:
        nonlocal printed
        printed += 1
        return draw(random, side)

    monkeypatch.setattr(printed, "any_letter", counted)
    random = np.random.default_rng(5)
    for _ in range(200):
        drawing._letter(random, np.zeros((1, SIDE, SIDE), np.uint8))
    assert 50 < printed < 90
