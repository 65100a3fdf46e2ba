"""Synthetic photos of digits."""

import io

import numpy as np
import pytest
from PIL import Image

from app.inference.engine import Graph
from app.inference.ensemble import Cascade, load_cascade
from app.registry import store
from app.vision.pipeline import preprocess
from tests.support.images import handwritten
from tests.support.training import rows
from tests.support.versions import SHIPPED
from training.data import Split
from training.image_folder import Answer
from training.synthetic.photos import SCENES, make, report, some


@pytest.fixture(scope="module")
def digits() -> Split:
    random = np.random.default_rng(4)
    return Split(np.stack([handwritten(digit, random) for digit in range(10)]), np.arange(10, dtype=np.uint8))


@pytest.fixture(scope="module")
def cascade() -> Cascade:
    return load_cascade(Graph(store.verify(SHIPPED / str(store.current(SHIPPED)))), threads=1)


def test_the_service_reads_the_digit_in_every_scene(digits: Split, cascade: Cascade) -> None:
    """At least eight of ten."""
    for name in SCENES:
        images = np.stack([preprocess(photo, 10**7).image for photo in make(name, digits)])
        assert (cascade.predict(images).argmax(axis=1) == digits.labels).sum() >= 8, name


def test_they_are_photos_and_always_the_same(digits: Split) -> None:
    for name in ("small", "coloured"):
        photos = make(name, digits)
        assert photos == make(name, digits)
        assert len(set(photos)) == 10
        assert Image.open(io.BytesIO(photos[0])).format == "JPEG"


def test_some_are_spread_over_the_split(digits: Split) -> None:
    assert some(digits, 5).labels.tolist() == [0, 2, 4, 6, 8]
    assert some(digits, 7).labels.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert len(some(digits, 50)) == 10


def test_a_table_of_accuracy_and_coverage() -> None:
    labels = Split(np.zeros((2, 28, 28), np.uint8), np.array([3, 4], np.uint8))
    given = {
        "clean": [Answer(3, 1.0), Answer(4, 0.6)],
        "ruled": [Answer(3, 0.4, "unsure"), Answer(None, 0.0, "no image")],
    }
    assert rows(report(labels, given))[2:] == [
        "| clean | 100.0% | 100.0% |",
        "| ruled | 50.0% | 0.0% |",
        "| **mean** | 75.0% | 50.0% |",
    ]
