"""Images corrupted as in MNIST-C."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from app.registry.manifest import Metrics
from tests.support.images import handwritten
from tests.support.training import rows
from tests.support.versions import SHIPPED
from training.corruptions import CORRUPTIONS, corrupt, table
from training.data import Digits, Split
from training.evaluate import Service, serving


def drawn(count: int) -> Split:
    random = np.random.default_rng(5)
    labels = np.arange(count).astype(np.uint8) % 10
    return Split(np.stack([handwritten(int(label), random) for label in labels]), labels)


def outside(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Its outermost pixels."""
    return np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])


def test_there_are_the_fifteen_of_mnist_c() -> None:
    assert len(CORRUPTIONS) == 15


def test_every_image_is_changed_the_same_way_for_the_same_seed() -> None:
    images = drawn(20).images
    before = images.copy()
    for name in CORRUPTIONS:
        corrupted = corrupt(name, images, seed=1)
        assert (corrupted.shape, corrupted.dtype) == (images.shape, np.uint8), name
        assert (images == before).all(), name
        assert (corrupted != images).any(axis=(1, 2)).all(), name
        assert (corrupt(name, images, seed=1) == corrupted).all(), name
        is_random = name not in ("scale", "brightness", "stripe", "canny edges")
        assert (corrupt(name, images, seed=2) != corrupted).any() == is_random, name


def test_each_image_is_corrupted_by_itself() -> None:
    """Of twelve copies of one image, as many differ as there are ways for them to."""
    same = np.repeat(drawn(4).images[3:], 12, axis=0)
    ways = {"scale": 1, "brightness": 1, "stripe": 1, "canny edges": 1, "shear": 2, "rotate": 2, "translate": 4}
    for name in CORRUPTIONS:
        assert len({image.tobytes() for image in corrupt(name, same)}) == ways.get(name, 12), name


def box(image: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Height, width, and row and column of the centre of the foreground, doubled."""
    rows, columns = np.flatnonzero((image > 60).any(axis=1)), np.flatnonzero((image > 60).any(axis=0))
    return np.array([np.ptp(rows) + 1, np.ptp(columns) + 1, rows[0] + rows[-1], columns[0] + columns[-1]])


def test_shapes_move_as_they_say() -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 4:24, 10:18] = 255  # an upright box, 20 high and 8 wide
    assert box(corrupt("scale", image)[0]).tolist() == [14, 6, 27, 27]
    height, width, row, column = box(corrupt("translate", image)[0])
    assert (height, width, abs(row - 27), abs(column - 27)) == (20, 8, 6, 6)
    height, width, row, column = box(corrupt("shear", image)[0])
    assert (height, row, column) == (20, 27, 27)
    assert 14 <= width <= 17  # 8 and 0.4 of 20 rows
    height, width, row, column = box(corrupt("rotate", image)[0])
    assert (row, column) == (27, 27)
    assert 20 <= height <= 23  # 20 cos 0.4 and 8 sin 0.4
    assert 14 <= width <= 17  # 8 cos 0.4 and 20 sin 0.4


def test_levels_change_as_they_say() -> None:
    images = drawn(50).images
    assert corrupt("brightness", images).min() == 128
    stripe = corrupt("stripe", images)
    assert (stripe[:, :, 7:21] == images[:, :, 7:21]).all()
    assert (stripe[:, :, :7] == 255 - images[:, :, :7]).all()
    impulse = corrupt("impulse noise", images)
    background, foreground = images == 0, images > 128
    assert (impulse[background] == 255).mean() == pytest.approx(0.085, abs=0.01)
    assert (impulse[foreground] == 0).mean() == pytest.approx(0.085, abs=0.02)
    assert not corrupt("shot noise", images)[background].any()
    shot = corrupt("shot noise", np.full_like(images, 255))
    assert (shot == 0).mean() == pytest.approx(np.exp(-3), abs=0.005)  # no photon of 3 expected
    fog = corrupt("fog", images)
    assert fog.max() - fog.min() > 100
    for name in ("dotted line", "zigzag", "spatter"):  # they only add
        assert (corrupt(name, images) >= images).all()
    for name in ("dotted line", "zigzag"):
        added = (corrupt(name, images)[:, :, [0, 1, 8, 9, 20, 21]] > 100).any(axis=1)
        assert added.all()  # from side to side


def test_edges_are_outlines_of_one_pixel() -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 6:22, 6:22] = 255
    edges = corrupt("canny edges", image)[0]
    assert set(np.unique(edges)) == {0, 255}
    assert not edges[9:19, 9:19].any()
    assert not outside(edges).any()
    assert (edges[10:18] == 255).sum(axis=1).tolist() == [2] * 8
    assert (edges[:, 10:18] == 255).sum(axis=0).tolist() == [2] * 8


def test_faint_edges_are_none_unless_they_go_on_from_strong_ones() -> None:
    """Canny's two thresholds, by a bar that fades downwards."""
    level = np.linspace(60, 5, 20).astype(np.uint8)
    fading = np.zeros((1, 28, 28), np.uint8)
    fading[0, 4:24, 12:17] = level[:, None]
    even = np.where(fading > 0, level[15], 0).astype(np.uint8)
    assert not corrupt("canny edges", even).any()
    assert corrupt("canny edges", fading)[0, 4 + 15].any()
    assert not corrupt("canny edges", fading)[0, 23].any()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving(SHIPPED / "1") as service:
        yield service


def accuracies(service: Service, split: Split) -> dict[str, float]:
    read = {name: service.read(Split(corrupt(name, split.images), split.labels)) for name in CORRUPTIONS}
    return {name: evaluation.metrics().accuracy for name, evaluation in read.items()}


def test_the_shipped_version_still_reads_most_of_them(service: Service) -> None:
    """What is drawn here is no handwriting, and nobody learned it corrupted; answers by chance are right in 10 %."""
    found = accuracies(service, drawn(20))
    assert np.mean(list(found.values())) > 0.6, found
    assert min(found[name] for name in ("shot noise", "shear", "scale", "rotate", "brightness", "translate")) > 0.6


def test_the_shipped_version_reads_most_of_mnist_corrupted(service: Service, mnist: Digits) -> None:
    found = accuracies(service, mnist.held_out()[1][:50])
    assert np.mean(list(found.values())) > 0.6, found


def test_a_table_has_mean_and_worst() -> None:
    def metrics(correct: int, accepted: float) -> Metrics:
        return Metrics(images=100, correct=correct, accuracy=correct / 100, nll=0.1, accepted=accepted)

    lines = rows(table(metrics(99, 1.0), {"fog": metrics(40, 0.5), "scale": metrics(90, 0.9)}))
    assert lines[2:] == [
        "| none | 99.00% | 100.00% |",
        "| fog | 40.00% | 50.00% |",
        "| scale | 90.00% | 90.00% |",
        "| mean | 65.00% | 70.00% |",
        "| worst: fog | 40.00% | 50.00% |",
    ]
