"""Which pixels spoke for an answer."""

import numpy as np
from numpy.typing import NDArray

from app.inference.attribution import PATCH_PIXELS, attribute, occlude
from app.inference.ensemble import Cascade, load_version
from tests.support.images import handwritten
from tests.support.paths import MNIST_200
from tests.support.versions import SHIPPED

Pixels = NDArray[np.uint8]


def shipped() -> Cascade:
    """The networks of the version that ships."""
    return load_version(SHIPPED / "1", threads=1)[1]


def without_patch(image: Pixels, scores: NDArray[np.float64]) -> Pixels:
    """The image with the patch covered that has the highest sum of scores."""
    side = image.shape[0] - PATCH_PIXELS + 1
    sums = [(scores[y : y + PATCH_PIXELS, x : x + PATCH_PIXELS].sum(), y, x) for y in range(side) for x in range(side)]
    _, y, x = max(sums)
    covered = image.copy()
    covered[y : y + PATCH_PIXELS, x : x + PATCH_PIXELS] = 0
    return covered


def test_to_cover_what_matters_most_costs_more_than_to_cover_what_is_inked_most() -> None:
    """The patch with the highest attribution, beside the one with most ink, and one at random that has some."""
    cascade, random = shipped(), np.random.default_rng(0)
    network = cascade.stages[int(cascade.is_fast)].predict
    images = np.load(MNIST_200)["images"][:60]
    digits = cascade.predict(images).argmax(axis=1)
    by_attribution, by_ink, at_random = [], [], []
    for image, digit in zip(images, digits, strict=True):
        covered = occlude(image)
        rows = np.concatenate([network(covered[start : start + 16]) for start in range(0, len(covered), 16)])
        by_attribution.append(without_patch(image, attribute(image, digit, rows).astype(np.float64)))
        by_ink.append(without_patch(image, image.astype(np.float64)))
        at_random.append(covered[random.integers(1, len(covered))])

    def drop(changed: list[Pixels]) -> float:
        place = np.arange(len(images)), digits
        return float((cascade.predict(images)[place] - cascade.predict(np.stack(changed))[place]).mean())

    assert drop(by_attribution) > 2 * max(drop(by_ink), drop(at_random), 0.01)


def test_only_patches_with_foreground_are_covered() -> None:
    image = np.zeros((28, 28), np.uint8)
    assert len(occlude(image)) == 1
    image[10, 10] = 200
    covered = occlude(image)
    assert len(covered) == 1 + 4  # at a stride of half a patch
    assert np.array_equal(covered[0], image)
    assert not covered[1:].any()
    full = occlude(handwritten(8, np.random.default_rng(0)))
    assert len(full) <= 170


def test_attribution_follows_what_the_probabilities_do() -> None:
    """A network that looks at one pixel for the answer, and at another one against it."""
    image = np.zeros((28, 28), np.uint8)
    image[6, 6] = image[20, 20] = 255
    covered = occlude(image)
    score = covered[:, 6, 6].astype(float) - 0.5 * covered[:, 20, 20]
    rows = np.full((len(covered), 10), 0.01, np.float32)
    rows[:, 3] = 1 / (1 + np.exp(-score / 100))
    found = attribute(image, 3, rows)
    assert found[6, 6] == 1
    assert -1 < found[20, 20] < 0
    assert np.count_nonzero(found) == 2


def test_certainty_gives_no_infinities() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[6, 6] = 255
    rows = np.zeros((len(occlude(image)), 10), np.float32)
    rows[:, 3] = 1
    rows[1:, 3], rows[1:, 4] = 0, 1
    assert attribute(image, 3, rows)[6, 6] == 1
    assert not attribute(image, 3, np.repeat(rows[:1], len(rows), axis=0)).any()
