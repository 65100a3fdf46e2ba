"""Networks in int8."""

from typing import Any

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray

from app.registry import store
from tests.support.versions import SHIPPED
from training.quantise import quantise_to_int8, run
from training.synthetic import digits

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.fixture(scope="module")
def first() -> Any:
    """The first network of the shipped version, in float32."""
    graph = openvino.Core().read_model(SHIPPED / str(store.current(SHIPPED)) / store.GRAPH)
    rounded = [node for node in graph.get_ordered_ops() if node.get_type_name() == "FakeQuantize"]
    for node in rounded:
        for place in node.output(0).get_target_inputs():
            place.replace_source_output(node.input_value(0))
    (result,) = [result for result in graph.get_results() if result.get_friendly_name() == store.FIRST_NETWORK_OUTPUT]
    return openvino.Model([result], graph.get_parameters())


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return digits.make(500, [1]).images


def test_it_says_nearly_the_same(first: Any, images: NDArray[np.uint8]) -> None:
    (exact,), (rounded,) = run(first, images), run(quantise_to_int8(first, images[:100]), images)
    difference = np.abs(exact - rounded).max(axis=1)
    assert 1e-6 < difference.mean() < 1e-3
    sure = rounded.max(axis=1) >= 0.85
    assert (exact.argmax(axis=1) == rounded.argmax(axis=1))[sure].all()


def test_the_graph_that_it_is_made_from_stays_as_it_is(first: Any, images: NDArray[np.uint8]) -> None:
    before = run(first, images)
    quantise_to_int8(first, images[:100])
    assert np.array_equal(run(first, images), before)


def test_the_hidden_convolutions_are_computed_in_int8(first: Any, images: NDArray[np.uint8]) -> None:
    if "INT8" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("the runtime computes nothing in int8 on this processor")
    compiled = openvino.Core().compile_model(quantise_to_int8(first, images[:100]), "CPU", EXACT)
    layers = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    precisions = [str(layer["runtimePrecision"].value) for layer in layers if layer["layerType"].value == "Convolution"]
    assert len(precisions) == 5
    assert precisions.count("u8") == 4


def test_what_is_0_everywhere_has_a_range(first: Any) -> None:
    blank = np.zeros((2, 28, 28), np.uint8)
    assert np.isfinite(run(quantise_to_int8(first, blank), blank)).all()
