"""TensorFlow Serving's REST API v1: the wire format, and the calls beside ``:predict``.

Real clients are in ``tests/clients``.
"""

import json
from typing import Any

import httpx
import numpy as np
import pytest

from app.api.tf_serving_messages import SIGNATURES, parse_predict, write_predict
from app.api.uploads import File
from app.errors import BatchTooLarge, MalformedBody
from app.inference.rejection import RejectionReason
from tests.support.images import SEVEN, base64_of, handwritten

MAX_BATCH = 8
IMAGE = handwritten(7, np.random.default_rng(0))
FRACTIONS = IMAGE / 255
PREDICT = "/v1/models/digits:predict"


def parse(value: Any) -> Any:
    return parse_predict(value if isinstance(value, bytes) else json.dumps(value).encode(), MAX_BATCH)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (1, 28, 28), (784,)])
@pytest.mark.parametrize("values", [IMAGE, FRACTIONS, FRACTIONS.round(4)], ids=["integers", "floats", "rounded"])
def test_rows_and_columns(values: Any, shape: tuple[int, ...]) -> None:
    value = values.reshape(shape).tolist()
    for body in (
        {"instances": [value, value]},
        {"instances": [{"image": value}, {"image": value}]},
        {"inputs": [value, value]},
        {"inputs": {"image": [value, value]}},
    ):
        call = parse(body | {"more": "ignored"})
        assert call.by_row == ("instances" in body)
        assert call.signature == "serving_default"
        np.testing.assert_array_equal(call.images, np.stack([IMAGE, IMAGE]))


def test_each_image_has_its_own_range() -> None:
    ones = np.zeros((28, 28), int)
    ones[4:24, 14] = 1
    call = parse({"instances": [IMAGE.tolist(), FRACTIONS.tolist(), ones.tolist()]})
    np.testing.assert_array_equal(call.images, np.stack([IMAGE, IMAGE, 255 * ones]))


def test_pictures() -> None:
    one = {"b64": base64_of(SEVEN)}
    for body in (
        {"instances": [one, one]},
        {"instances": [{"image_bytes": one}, {"image_bytes": one}]},
        {"instances": [[one], [one]]},
        {"inputs": [one, one]},
        {"inputs": {"image_bytes": [one, one]}},
    ):
        assert parse(body | {"signature_name": "images"}).images == [File(SEVEN)] * 2


BOTH = {"instances": [FRACTIONS.tolist()], "inputs": [FRACTIONS.tolist()]}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        ({}, "neither"),
        (BOTH, "both"),
        ({"instances": []}, "at least one"),
        ({"instances": {}}, "at least one"),
        ({"instances": None}, "at least one"),
        ({"inputs": []}, "at least one"),
        ({"inputs": {}}, "no keys"),
        ({"inputs": 7}, "at least one"),
        ({"inputs": {"image": 7}}, "at least one"),
        ({"instances": [7]}, "the shape"),
        ({"instances": ["7"]}, "numbers alone"),
        ({"instances": [None]}, "numbers alone"),
        ({"instances": [[[True] * 28] * 28]}, "numbers alone"),
        ({"instances": [{"x": 7}]}, "has 'x'; the signature has one input, 'image'"),
        ({"instances": [{"image": 7, "x": 7}]}, "has 'image', 'x'"),
        ({"instances": [{"b64": "eA=="}]}, r"instances\[0\] is an object"),
        ({"instances": [[[0.0] * 28] * 27]}, "the shape"),
        ({"instances": [[[0.0] * 28] * 27 + [[0.0]]]}, "differ in length"),
        ({"instances": FRACTIONS[:4].tolist()}, r"instances\[0\] has the shape"),
        ({"instances": [(200.5 * FRACTIONS).tolist()]}, "divide by 255"),
        ({"instances": [(-FRACTIONS).tolist()]}, "has -"),
        ({"instances": [[[300] * 28] * 28]}, "has 300"),
        ({"instances": [[[-1] * 28] * 28]}, "has -1"),
        ({"instances": [[[float("nan")] * 28] * 28]}, "has nan"),
        ({"instances": [[[float("inf")] * 28] * 28]}, "has inf"),
        ({"instances": [[[10**400] * 28] * 28]}, "too large"),
        (b'{"instances": [' + b"[" * 100_000, "not JSON"),
        ({"signature_name": 7, "instances": [7]}, "must be a string"),
        ({"signature_name": "x", "instances": [7]}, 'Serving signature name: "x" not found in signature def'),
        ({"signature_name": "images", "instances": [7]}, "b64"),
        ({"signature_name": "images", "instances": ["eA=="]}, "b64"),
        ({"signature_name": "images", "instances": [{"b64": "eA==", "x": 1}]}, "nothing beside it"),
        ({"signature_name": "images", "instances": [{"b64": 7}]}, "must be a string"),
        ({"signature_name": "images", "instances": [{"b64": "?"}]}, "not base64"),
        ({"signature_name": "images", "inputs": {"b64": "eA=="}}, "at least one"),
    ],
)
def test_what_is_wrong_is_told(body: Any, complaint: str) -> None:
    with pytest.raises(MalformedBody, match=complaint):
        parse(body)


def test_no_more_images_than_may_be() -> None:
    with pytest.raises(BatchTooLarge):
        parse({"instances": [0] * (MAX_BATCH + 1)})


def test_nan_is_json_there() -> None:
    body = b'{"more": [NaN, -Infinity], "instances": %b}' % json.dumps([FRACTIONS.tolist()]).encode()
    np.testing.assert_array_equal(parse(body).images, IMAGE[None])


ROWS = np.array([[0.01] * 9 + [0.91], [0.05] * 8 + [0.2, 0.4]], np.float32)
REASONS = [None, RejectionReason.UNSURE]


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("key", ["instances", "inputs"])
def test_replies(key: str, signature: str) -> None:
    values = [{"b64": ""}] if signature == "images" else [FRACTIONS.tolist()]
    reply = json.loads(write_predict(parse({"signature_name": signature, key: values}), ROWS, REASONS))
    (found,) = reply.values()
    assert [*reply] == ["predictions" if key == "instances" else "outputs"]
    if signature == "serving_default":
        assert np.array_equal(np.array(found, np.float32), ROWS)
    elif key == "instances":
        assert [one["digit"] for one in found] == [9, 9]
        assert [one["reason"] for one in found] == ["", "unsure"]
        assert [*found[0]] == ["digit", "confidence", "accepted", "reason", "probabilities"]
    else:
        assert [*found] == ["digit", "confidence", "accepted", "reason", "probabilities"]
        assert found["accepted"] == [True, False]


def test_predict_equals_predict(client: httpx.Client) -> None:
    known = client.post("/predict", content=IMAGE.tobytes(), headers={"content-type": "application/octet-stream"})
    for path in (PREDICT, "/v1/models/digits/versions/1:predict", "/v1/models/digits/labels/stable:predict"):
        reply = client.post(path, json={"instances": [FRACTIONS.tolist()]})
        assert reply.headers["content-type"] == "application/json"
        assert reply.json() == {"predictions": [known.json()["probabilities"]]}


def test_status_and_metadata(client: httpx.Client) -> None:
    assert client.get("/v1/models").json() == {"models": ["digits"]}
    for path in ("/v1/models/digits", "/v1/models/digits/versions/1", "/v1/models/digits/labels/stable"):
        status = client.get(path).json()
        assert (status["name"], status["ready"]) == ("digits", True)
        assert status["model_version_status"] == [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
        metadata = client.get(f"{path}/metadata").json()
        assert metadata["model_spec"] == {"name": "digits", "signature_name": "", "version": "1"}
        found = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert found["inputs"]["image"]["dtype"] == "DT_FLOAT"
        sizes = [dim["size"] for dim in found["outputs"]["probabilities"]["tensor_shape"]["dim"]]
        assert sizes == ["-1", "10"]


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v1/models/mnist", 404, "Could not find any versions of model mnist"),
        ("GET", "/v1/models/digits/versions/7", 404, "Could not find version 7 of model digits"),
        ("GET", "/v1/models/digits/versions/0", 404, "Could not find version 0 of model digits"),
        ("GET", "/v1/models/digits/labels/canary", 404, "Could not find label canary of model digits"),
        ("GET", "/v1/models/digits/versions/x", 400, "Malformed request: GET /v1/models/digits/versions/x"),
        ("POST", "/v1/models/mnist:predict", 404, "Servable not found for request: Latest(mnist)"),
        ("POST", "/v1/models/digits/versions/7:predict", 404, "Servable not found for request: Specific(digits, 7)"),
        ("POST", "/v1/models/digits:classify", 400, "tensorflow/serving/classify"),
        ("POST", "/v1/models/digits:regress", 400, "tensorflow/serving/regress"),
        ("POST", "/v1/models/digits:explain", 400, "Malformed request: POST /v1/models/digits:explain"),
        ("POST", "/v1/nothing", 400, "Malformed request: POST /v1/nothing"),
        ("GET", "/v1/models/digits:predict", 405, "Malformed request: GET /v1/models/digits:predict"),
    ],
)
def test_errors_are_in_its_words(client: httpx.Client, method: str, path: str, status: int, text: str) -> None:
    reply = client.request(method, path)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/json")
    assert text in reply.json()["error"]
    assert [*reply.json()] == ["error"]
