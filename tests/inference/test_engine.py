"""The shipped network in its runtime."""

import contextlib
import os
import threading
from typing import Any

import numpy as np
import pytest

from app.errors import ModelError
from app.inference.engine import Graph, OpenVinoEngine
from app.inference.ensemble import LARGE_BATCH_SIZES, load_cascade
from app.registry import store
from tests.support.images import handwritten
from tests.support.versions import SHIPPED
from training.data import Digits


@pytest.fixture(scope="module")
def engine() -> OpenVinoEngine:
    return OpenVinoEngine(Graph(store.verify(SHIPPED / str(store.current(SHIPPED)))), threads=2)


def test_drawn_digits(engine: OpenVinoEngine) -> None:
    random = np.random.default_rng(0)
    images = np.stack([handwritten(n % 10, random) for n in range(100)])
    probabilities = engine.predict(images)
    assert probabilities.dtype == np.float32
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (probabilities.argmax(axis=1) == np.arange(100) % 10).mean() >= 0.97


def test_the_batch_size_does_not_change_an_answer(engine: OpenVinoEngine) -> None:
    random = np.random.default_rng(1)
    images = np.stack([handwritten(n % 10, random) for n in range(150)])
    reference = np.concatenate([engine.predict(image[None]) for image in images])
    sizes = (1, 2, 16, *LARGE_BATCH_SIZES)
    some = OpenVinoEngine(Graph(store.verify(SHIPPED / str(store.current(SHIPPED)))), 1, sizes)
    for count in (2, 3, 7, 33, 64, 65, 150):
        assert np.abs(engine.predict(images[:count]) - reference[:count]).max() < 1e-6
        assert np.abs(some.predict(images[:count]) - reference[:count]).max() < 1e-6


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux to tell where a thread may run")
def test_its_thread_may_run_on_any_core() -> None:
    """Pinned, the threads of all processes would share the first core."""
    engine = OpenVinoEngine(Graph(store.verify(SHIPPED / str(store.current(SHIPPED)))), threads=1)
    images = np.zeros((16, 28, 28), np.uint8)
    thread = threading.Thread(target=lambda: [engine.predict(images) for _ in range(20)])
    thread.start()
    allowed = []
    while thread.is_alive():
        with contextlib.suppress(OSError):  # it has just ended
            allowed.append(len(os.sched_getaffinity(thread.native_id or 0)))
    thread.join()
    assert {*allowed} == {len(os.sched_getaffinity(0))}


def test_a_network_that_gives_no_probabilities_is_refused() -> None:
    import openvino

    class Scores(Graph):
        """The first stage without its softmax."""

        def part(self, output: str | None) -> Any:
            whole = super().part(output)
            (softmax,) = (node for node in whole.get_ops() if node.get_type_name() == "Softmax")
            return openvino.Model([softmax.input_value(0)], whole.get_parameters())

    graph = Scores(store.verify(SHIPPED / str(store.current(SHIPPED))))
    with pytest.raises(ModelError, match="does not give ten probabilities"):
        OpenVinoEngine(graph, threads=1, output=store.FIRST_STAGE_OUTPUT)


def test_results_are_kept_when_the_engine_runs_again(engine: OpenVinoEngine) -> None:
    random = np.random.default_rng(1)
    first = engine.predict(handwritten(1, random)[None])
    copy = first.copy()
    engine.predict(handwritten(8, random)[None])
    assert np.array_equal(first, copy)


def test_the_shipped_version_on_mnist(mnist: Digits) -> None:
    version = store.verify(SHIPPED / str(store.current(SHIPPED)))
    digits = load_cascade(Graph(version), threads=2).predict(mnist.test.images).argmax(axis=1)
    manifest = version.manifest
    assert int((digits == mnist.test.labels).sum()) == manifest.metrics["test"].correct
    assert manifest.metrics["test"].accuracy >= 0.996
    assert manifest.data["test"] == mnist.test.digest()


def test_what_ships_is_small_and_carries_no_optimiser() -> None:
    import io
    import zipfile

    import h5py

    path = SHIPPED / str(store.current(SHIPPED)) / store.KERAS
    assert path.stat().st_size < 4_000_000
    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
        assert not weights.get("optimizer")
