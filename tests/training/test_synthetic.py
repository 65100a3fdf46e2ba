"""Digits and pictures without a digit that the program draws."""

from collections.abc import Iterator

import numpy as np
import pytest

from app.inference.engine import Graph
from app.inference.ensemble import Cascade, load_cascade
from app.registry import store
from tests.support.versions import SHIPPED
from training.data import Split
from training.synthetic import digits, ood, ood_evaluation, shapes

# Styles that MNIST has too, by digit.
PLAIN = {0: "closed", 1: "plain", 2: "flat", 3: "round", 4: "open", 5: "one stroke", 6: "straight", 7: "plain",
         8: "one stroke", 9: "straight"}  # fmt: skip


@pytest.fixture(scope="module")
def drawn() -> Split:
    return digits.make(203, seed=1)


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    return load_cascade(Graph(store.verify(SHIPPED / str(store.current(SHIPPED)))), threads=1)


def test_a_seed_gives_the_same_bytes_again(drawn: Split) -> None:
    assert digits.make(203, seed=1).digest() == drawn.digest()
    assert digits.make(203, seed=2).digest() != drawn.digest()
    pictures = [ood.make(120, drawn.images, seed).tobytes() for seed in (1, 1, 2)]
    assert pictures[0] == pictures[1] != pictures[2]


def test_labels_are_balanced_and_shuffled(drawn: Split) -> None:
    assert drawn.images.shape == (203, 28, 28)
    assert drawn.images.dtype == drawn.labels.dtype == np.uint8
    assert sorted(np.bincount(drawn.labels, minlength=10)) == [20] * 7 + [21] * 3
    assert (drawn.labels[:10] != np.arange(10)).any()
    assert len(digits.make(0, seed=1)) == 0


def test_digits_lie_as_in_mnist(drawn: Split) -> None:
    assert (drawn.images.max(axis=(1, 2)) == 255).all()
    foreground = drawn.images.astype(float)
    places = np.arange(28) + 0.5
    for axis in (1, 2):
        extent = (foreground.max(axis=axis) > 0).sum(axis=1)
        assert extent.max() <= 20
        centre = foreground.sum(axis=axis) @ places / foreground.sum(axis=(1, 2))
        assert np.abs(centre - 14).max() < 1.1
    assert len(np.unique(drawn.images, axis=0)) == len(drawn)


def test_the_shipped_network_reads_plain_ones(cascade: Cascade) -> None:
    random = np.random.default_rng(3)
    images = np.stack([digits.draw(shapes.load().digits[n % 10][PLAIN[n % 10]], random) for n in range(200)])
    assert (cascade.predict(images).argmax(axis=1) == np.arange(200) % 10).mean() > 0.95


def test_the_shipped_network_reads_most_in_all_styles(cascade: Cascade, drawn: Split) -> None:
    assert (cascade.predict(drawn.images).argmax(axis=1) == drawn.labels).mean() > 0.85


def skeletons() -> Iterator[tuple[str, str]]:
    known = shapes.load()
    yield from ((f"{digit} {name}", style) for digit, styles in known.digits.items() for name, style in styles.items())
    yield from ((f"{digit} on a display", known.display[digit]) for digit in range(10))
    yield from known.letters.items()
    yield from ((f"figure {number}", outline) for number, outline in enumerate(known.outlines))


def test_every_skeleton_can_be_drawn() -> None:
    """And both forms of one that blends have like strokes, knots and turns."""
    for name, skeleton in skeletons():
        forms = [[stroke.split() for stroke in form.split(" | ")] for form in skeleton.split(" ~ ")]
        layouts = [[[knot.endswith("!") for knot in stroke] for stroke in form] for form in forms]
        assert all(layout == layouts[0] for layout in layouts), name
        assert all(len(knot.rstrip("!")) == 4 for form in forms for stroke in form for knot in stroke), name
        assert digits.draw(skeleton, np.random.default_rng(0)).max() == 255, name


def test_the_flag_of_a_one_is_steep() -> None:
    """Steeper than 35 degrees in the narrow box that a 1 takes, which tells it from a 7."""
    styles = shapes.load().digits[1]
    for style in ("ticked", "flagged", "long flag", "steep flag", "bent flag"):
        for form in styles[style].split(" ~ "):
            knots = form.split()
            top = next(knot for knot in knots if knot.endswith("!"))
            across, down = int(top[:2]) - int(knots[0][:2]), int(knots[0][2:]) - int(top[2:4])
            assert down / (0.7 * across) > np.tan(np.deg2rad(35)), style


def test_pictures_without_a_digit_are_of_all_kinds(drawn: Split) -> None:
    assert sum(ood.KINDS.values()) == 100
    images = ood.make(300, drawn.images, seed=1)
    assert images.shape == (300, 28, 28)
    assert images.dtype == np.uint8
    flat = images.reshape(300, -1)
    assert (np.ptp(flat, axis=1) == 0).any()  # blank
    assert (flat.min(axis=1) > 0).mean() > 0.05  # grey all over
    assert 0.3 < (flat.max(axis=1) == 255).mean() < 0.9


def test_pictures_without_a_digit_are_no_whole_digits(drawn: Split) -> None:
    images = ood.make(300, drawn.images, seed=1)
    whole = {np.rot90(view, turn).tobytes() for image in drawn.images for view in (image, image.T) for turn in range(4)}
    assert not whole & {image.tobytes() for image in images}


def test_few_pictures_are_of_any_kind_and_need_only_one_digit(drawn: Split) -> None:
    assert ood.make(0, drawn.images, seed=1).shape == (0, 28, 28)
    few = np.concatenate([ood.make(3, drawn.images[:1], seed) for seed in range(40)])
    assert len(np.unique(few, axis=0)) > 100
    assert ood.make(200, np.zeros((1, 28, 28), np.uint8), seed=1).shape == (200, 28, 28)


def test_evaluation_pictures_are_many_and_follow_from_the_seed() -> None:
    for group in ood_evaluation.GROUPS:
        pictures, again, others = (ood_evaluation.make(group, 30, seed) for seed in (0, 0, 1))
        assert {picture.shape for picture in pictures} == {(28, 28), (112, 112), (280, 280)}, group
        assert len({picture.tobytes() for picture in pictures}) == 30, group
        assert all((one == other).all() for one, other in zip(pictures, again, strict=True)), group
        assert any((one != other).any() for one, other in zip(pictures, others, strict=True)), group


def test_blank_pages_are_blank_and_the_others_are_not() -> None:
    spread = {
        group: [float(picture.std()) for picture in ood_evaluation.make(group, 60)] for group in ood_evaluation.GROUPS
    }
    assert max(spread["blank"]) < 15
    assert 15 < sum(deviation == 0 for deviation in spread["blank"]) < 45
    assert min(spread["noise"] + spread["textures"]) > 12
