"""The Open Inference Protocol v2: the wire format, and the calls beside ``infer``.

Real clients are in ``tests/clients``.
"""

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.api.open_inference_messages import OUTPUTS, parse_infer, split_bytes, write_infer
from app.api.uploads import File
from app.errors import BatchTooLarge, MalformedBody
from app.inference.rejection import RejectionReason
from tests.support.calls import metric
from tests.support.images import SEVEN, base64_of, handwritten
from tests.support.paths import IMAGES
from tests.support.servers import AUTHORISED, Start
from tests.support.versions import add, shipped

LENGTH = "Inference-Header-Content-Length"
MAX_BATCH = 8

IMAGE = handwritten(7, np.random.default_rng(0))
INFER = "/v2/models/digits/infer"


def message(**changes: Any) -> dict[str, Any]:
    """A call with the image as JSON; changes are of its input, None takes a key away."""
    tensor = {"name": "image", "shape": [1, 28, 28], "datatype": "UINT8", "data": IMAGE.tolist()} | changes
    return {"inputs": [{key: value for key, value in tensor.items() if value is not None}]}


def binary(content: bytes, size: Any = None, **changes: Any) -> tuple[bytes, str]:
    """A call with binary content after the JSON, and the length of its JSON."""
    parameters = {"binary_data_size": len(content) if size is None else size}
    head = json.dumps(message(**{"data": None, "parameters": parameters} | changes)).encode()
    return head + content, str(len(head))


def parse(value: Any, length: str | None = None) -> Any:
    return parse_infer(value if isinstance(value, bytes) else json.dumps(value).encode(), length, MAX_BATCH)


@pytest.mark.parametrize("shape", [[28, 28], [28, 28, 1], [1, 28, 28], [784]])
@pytest.mark.parametrize("count", [1, 3])
def test_numbers_become_images(count: int, shape: list[int]) -> None:
    random = np.random.default_rng(1)
    images = np.stack([handwritten(digit, random) for digit in range(count)])
    fractions = images.astype(np.float32) / 255
    kind = {"shape": [count, *shape]}
    calls = [
        (message(data=images.reshape(-1, *shape).tolist(), **kind), None),
        (message(data=images.ravel().tolist(), **kind), None),
        (message(data=fractions.ravel().tolist(), datatype="FP32", **kind), None),
        (message(data=fractions.astype(float).round(4).ravel().tolist(), datatype="FP32", **kind), None),
        binary(images.tobytes(), **kind),
        binary(fractions.tobytes(), datatype="FP32", **kind),
    ]
    for body, length in calls:
        np.testing.assert_array_equal(parse(body, length).images, images)


def test_pictures_become_files() -> None:
    contents = [b"one", b"", b"three"]
    content = b"".join(struct.pack("<I", len(one)) + one for one in contents)
    body, length = binary(content, shape=[3], datatype="BYTES")
    assert parse(body, length).images == [File(one) for one in contents]
    texts = [base64_of(one) for one in contents]
    for shape, data in (([3], texts), ([3, 1], texts), ([3, 1], [[text] for text in texts])):
        assert parse(message(shape=shape, datatype="BYTES", data=data)).images == [File(one) for one in contents]


def test_a_body_that_is_one_image() -> None:
    call = parse(IMAGE.tobytes(), "0")
    np.testing.assert_array_equal(call.images, IMAGE[None])
    assert [output.binary for output in call.outputs] == [True]
    assert parse(SEVEN, "0").images == [File(SEVEN)]


def test_unknown_keys_are_ignored() -> None:
    call = message() | {"model_name": "x", "parameters": {"sequence_id": 1, "priority": 2, "timeout": 3}, "more": [{}]}
    call["inputs"][0]["parameters"] = {"content_type": "np"}
    assert parse(call).id is None
    assert parse(call | {"id": ""}).id == ""


BYTES_OF_ONE = struct.pack("<I", 3) + b"one"


@pytest.mark.parametrize(
    ("body", "length", "complaint"),
    [
        (b"", None, "not JSON"),
        (b"[]", None, "not a JSON object"),
        (b"[" * 100_000, None, "not JSON"),
        (b"{}", None, "no list of inputs"),
        (b"{}", "3", "is 3, but the body has 2 bytes"),
        (b"{}", "-1", "expected the number of bytes of the JSON"),
        (b"{}", "²", "expected the number of bytes of the JSON"),
        (b"{}", "two", "expected the number of bytes of the JSON"),
        (b"{}", "", "expected the number of bytes of the JSON"),
        (b"{}", "9" * 5000, "expected the number of bytes of the JSON"),
        (b"", "0", "expected 784"),
        (message() | {"id": 7}, None, "id must be"),
        (b'{"id":"\\ud800","more":NaN}', None, "no list of inputs|id must be"),
        (message() | {"parameters": 7}, None, "parameters must be a JSON object"),
        (message() | {"parameters": {"binary_data_output": 1}}, None, "expected true or false"),
        ({"inputs": []}, None, "0 inputs"),
        ({"inputs": 2 * message()["inputs"]}, None, "2 inputs"),
        ({"inputs": [7]}, None, "must be a JSON object"),
        (message(name="x"), None, "unexpected inference input 'x'"),
        (message(datatype="FP64"), None, "'FP64'"),
        (message(datatype="FOO"), None, "'FOO'"),
        (message(datatype=7), None, "the datatype 7"),
        (message(datatype=[]), None, "the datatype"),
        (message(shape=None), None, "no shape"),
        (message(shape=[]), None, "shape"),
        (message(shape=[1.0, 28, 28]), None, "no shape"),
        (message(shape=[True, 28, 28]), None, "no shape"),
        (message(shape=[0, 28, 28]), None, "each"),
        (message(shape=[-1, 28, 28]), None, "each"),
        (message(shape=[28, 28]), None, "each"),
        (message(shape=[1, 28, 29]), None, "each"),
        (message(shape=[2, 28, 28]), None, "784 numbers; expected 1,568"),
        (message(shape=[2, 784], data=IMAGE.ravel().tolist()), None, "784 numbers; expected 1,568"),
        (message(data=None), None, "neither 'data' nor"),
        (message(data=7), None, "1 numbers; expected 784"),
        (message(data="7"), None, "numbers alone"),
        (message(data=["7"] * 784), None, "numbers alone"),
        (message(data=[True] * 784), None, "numbers alone"),
        (message(data=[None] * 784), None, "numbers alone"),
        (message(data=[[1], [1, 2]]), None, "differ in length"),
        (message(data=[[1], 2]), None, "numbers alone"),
        (message(data=[[[[[[1]]]]]]), None, "numbers alone"),
        (message(data=[300] * 784), None, "has 300"),
        (message(data=[-1] * 784), None, "has -1"),
        (message(data=[2**63] * 784), None, "too large"),
        (message(data=[0.5] * 784), None, "no integers"),
        (message(data=[0, 1] * 392), None, "multiply by 255"),
        (message(datatype="FP32", data=[0.5, 255] * 392), None, "divide by 255"),
        (message(datatype="FP32", data=[-0.5] * 784), None, "has -0.5"),
        (message(datatype="FP32", data=[float("nan")] * 784), None, "has nan"),
        (message(datatype="FP32", data=[float("inf")] * 784), None, "has inf"),
        (message(parameters={"shared_memory_region": "x"}), None, "shared memory"),
        (message(parameters={"binary_data_size": 784}), None, "no Inference-Header-Content-Length"),
        (message(shape=[1], datatype="BYTES", data="eA=="), None, "must be a list"),
        (message(shape=[1], datatype="BYTES", data=["?"]), None, r"data\[0\] of input 'image' is not base64"),
        (message(shape=[1], datatype="BYTES", data=[7]), None, "must be a string"),
        (message(shape=[2], datatype="BYTES", data=["eA=="]), None, "1 elements; expected 2"),
        (message(shape=[1, 28, 28], datatype="BYTES"), None, "n pictures"),
        (*binary(IMAGE.tobytes()[:-1]), "783 bytes; expected 784"),
        (*binary(IMAGE.tobytes() + b"."), "785 bytes; expected 784"),
        (*binary(IMAGE.tobytes(), size=783), "783, but 784 bytes follow"),
        (*binary(IMAGE.tobytes(), size=-1), "binary_data_size"),
        (*binary(IMAGE.tobytes(), size="784"), "binary_data_size"),
        (*binary(IMAGE.tobytes(), size=True), "binary_data_size"),
        (*binary(IMAGE.tobytes(), data=[0] * 784), "both"),
        (*binary(IMAGE.astype("<f4").tobytes(), datatype="FP32"), "divide by 255"),
        (*binary(np.full(784, np.nan, "<f4").tobytes(), datatype="FP32"), "nan"),
        (*binary(BYTES_OF_ONE[:-1], datatype="BYTES", shape=[1]), "not 1 elements"),
        (*binary(BYTES_OF_ONE + b".", datatype="BYTES", shape=[1]), "not 1 elements"),
        (*binary(BYTES_OF_ONE, datatype="BYTES", shape=[2]), "not 2 elements"),
        (*binary(BYTES_OF_ONE[:2], datatype="BYTES", shape=[1]), "not 1 elements"),
        (*binary(b"", datatype="BYTES", shape=[1]), "not 1 elements"),
        (json.dumps(message()).encode() + b"more", str(len(json.dumps(message()))), "4 bytes follow"),
        (message() | {"outputs": 7}, None, "outputs must be a list"),
        (message() | {"outputs": [7]}, None, "an output must be"),
        (message() | {"outputs": [{"name": "x"}]}, None, "unexpected inference output 'x'"),
        (message() | {"outputs": [{"name": []}]}, None, "unexpected inference output"),
        (message() | {"outputs": [{"name": "digit"}] * 2}, None, "twice"),
        (message() | {"outputs": [{"name": "digit", "parameters": {"classification": 1}}]}, None, "classification"),
        (
            message() | {"outputs": [{"name": "probabilities", "parameters": {"classification": -1}}]},
            None,
            "classification",
        ),
        (
            message() | {"outputs": [{"name": "probabilities", "parameters": {"binary_data": "yes"}}]},
            None,
            "expected true or false",
        ),
        (
            message() | {"outputs": [{"name": "digit", "parameters": {"shared_memory_region": "x"}}]},
            None,
            "shared memory",
        ),
    ],
)
def test_what_is_wrong_is_told(body: Any, length: str | None, complaint: str) -> None:
    with pytest.raises(MalformedBody, match=complaint):
        parse(body, length)


def test_no_more_images_than_may_be() -> None:
    with pytest.raises(BatchTooLarge):
        parse(message(shape=[MAX_BATCH + 1, 784], data=[0]))


def test_elements_are_split_without_reading_beyond() -> None:
    with pytest.raises(MalformedBody):
        split_bytes(struct.pack("<I", 2**32 - 1) + b"x", 1, "it")


ROWS = np.array([[0.01] * 9 + [0.91], [0.05] * 8 + [0.2, 0.4]], np.float32)
REASONS = [None, RejectionReason.UNSURE]


def written(*outputs: dict[str, Any], **parameters: Any) -> tuple[dict[str, Any], bytes]:
    """The JSON of a reply, and the bytes after it."""
    call = parse(message() | {"id": "42", "outputs": list(outputs), "parameters": parameters})
    body, size = write_infer(call, "digits", 3, ROWS, REASONS)
    return json.loads(body[:size]), b"" if size is None else body[size:]


def test_a_reply_in_json() -> None:
    reply, rest = written(*({"name": name} for name in OUTPUTS))
    assert (reply["model_name"], reply["model_version"], reply["id"], rest) == ("digits", "3", "42", b"")
    data = {output["name"]: output["data"] for output in reply["outputs"]}
    assert np.array_equal(np.array(data["probabilities"], np.float32), ROWS.ravel())
    assert data["digit"] == [9, 9]
    assert np.array_equal(np.array(data["confidence"], np.float32), ROWS.max(axis=1))
    assert data["accepted"] == [True, False]
    assert data["reason"] == ["", "unsure"]


def test_a_reply_in_bytes() -> None:
    reply, rest = written(*({"name": name} for name in OUTPUTS), binary_data_output=True)
    sizes = [output["parameters"]["binary_data_size"] for output in reply["outputs"]]
    assert sizes == [80, 16, 8, 2, 4 + 4 + 6]
    ends = np.cumsum(sizes)
    assert ends[-1] == len(rest)
    parts = [rest[end - size : end] for end, size in zip(ends, sizes, strict=True)]
    assert parts[0] == ROWS.astype("<f4").tobytes()
    assert parts[1] == np.array([9, 9], "<i8").tobytes()
    assert parts[3] == b"\1\0"
    assert split_bytes(parts[4], 2, "reason") == [b"", b"unsure"]


def test_an_outputs_own_wish_comes_first() -> None:
    reply, rest = written(
        {"name": "probabilities", "parameters": {"binary_data": False}}, {"name": "digit"}, binary_data_output=True
    )
    assert "data" in reply["outputs"][0]
    assert "data" not in reply["outputs"][1]
    assert len(rest) == 16


def test_classes() -> None:
    reply, _ = written({"name": "probabilities", "parameters": {"classification": 2}})
    (output,) = reply["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    assert output["data"] == ["0.910000:9:9", "0.010000:0:0", "0.400000:9:9", "0.200000:8:8"]
    assert written({"name": "probabilities", "parameters": {"classification": 99}})[0]["outputs"][0]["shape"] == [2, 10]


def test_infer_equals_predict(client: httpx.Client) -> None:
    known = client.post("/predict", files={"file": SEVEN}).json()
    for version in ("", "/versions/1"):
        call = {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64_of(SEVEN)]}]}
        reply = client.post(f"/v2/models/digits{version}/infer", json=call)
        assert reply.headers["content-type"] == "application/json"
        assert reply.json()["outputs"][0]["data"] == known["probabilities"]


def test_what_a_picture_shows(client: httpx.Client) -> None:
    contents = [(IMAGES / name).read_bytes() for name in ("three.jpg", "several.png", "seven.png")]
    call = {
        "inputs": [{"name": "image", "shape": [3], "datatype": "BYTES", "data": [base64_of(one) for one in contents]}],
        "outputs": [{"name": "digit"}, {"name": "reason"}],
    }
    digits, reasons = client.post(INFER, json=call).json()["outputs"]
    assert digits["data"][0] == 3
    assert digits["data"][2] == 7
    assert reasons["data"] == ["", "several_digits", ""]


def test_the_first_picture_that_cannot_be_read_is_told(client: httpx.Client) -> None:
    call = {"inputs": [{"name": "image", "shape": [2], "datatype": "BYTES", "data": [base64_of(SEVEN), "eA=="]}]}
    reply = client.post(INFER, json=call)
    assert reply.status_code == 400
    assert reply.json()["error"].startswith("picture 1: the file is not an image")


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", None])
def test_any_content_type_will_do(client: httpx.Client, media_type: str | None) -> None:
    headers = {"content-type": media_type} if media_type else {}
    assert client.post(INFER, content=json.dumps(message()), headers=headers).status_code == 200


def test_compressed_calls_and_replies(client: httpx.Client) -> None:
    body, length = binary(np.tile(IMAGE, (64, 1, 1)).tobytes(), shape=[64, 28, 28])
    packed = gzip.compress(body)
    headers = {"content-encoding": "gzip", LENGTH: length, "accept-encoding": "gzip"}
    reply = client.post(INFER, content=packed, headers=headers)
    assert (reply.status_code, reply.headers["content-encoding"], reply.headers["vary"]) == (
        200,
        "gzip",
        "accept-encoding",
    )
    plain = client.post(INFER, content=body, headers={LENGTH: length, "accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == reply.content
    for coding in ("br", "gzip, gzip"):
        assert client.post(INFER, content=packed, headers={"content-encoding": coding}).status_code == 415
    bomb = gzip.compress(bytes(50 * 2**20))
    reply = client.post(INFER, content=bomb, headers={"content-encoding": "gzip"})
    assert (reply.status_code, "when it is decompressed" in reply.json()["error"]) == (413, True)
    assert client.post("/predict", content=packed, headers={"content-encoding": "gzip"}).status_code == 415


def test_metadata_and_health(client: httpx.Client) -> None:
    assert client.get("/v2").json()["extensions"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    for version in ("", "/versions/1"):
        path = f"/v2/models/digits{version}"
        metadata = client.get(path).json()
        assert (metadata["name"], metadata["versions"]) == ("digits", ["1"])
        assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 28, 28, 1]}]
        assert metadata["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}]
        assert client.get(f"{path}/ready").json() == {"name": "digits", "ready": True}
        config = client.get(f"{path}/config").json()
        assert config["max_batch_size"] == 1000
    for path in ("/v2/models/mnist", "/v2/models/digits/versions/2", "/v2/models/digits/versions/x/ready"):
        reply = client.get(path)
        assert (reply.status_code, reply.json()["error"][:25]) == (404, "Request for unknown model")


def test_statistics_count_what_was_asked(start_server: Start) -> None:
    server = start_server(DIGITS_WORKER="external")
    with httpx.Client(base_url=server.url) as client:
        for _ in range(3):
            assert client.post(INFER, json=message()).status_code == 200
        assert client.post(INFER, json={}).status_code == 400
        assert client.post("/predict", files={"file": SEVEN}).status_code == 200
        (found,) = client.get("/v2/models/digits/stats").json()["model_stats"]
        assert client.get("/v2/models/stats").json() == {"model_stats": [found]}
        assert found["inference_count"] == found["execution_count"] == 4
        assert found["inference_stats"]["success"]["count"] == 4
        assert found["inference_stats"]["success"]["ns"] > 0
        assert found["inference_stats"]["fail"]["count"] == 1
        text = client.get("/metrics").text
    assert metric(text, 'digits_requests_total{method="POST",path="/v2/models/{model}/infer",status="200"}') == 3


def test_load_activates_a_version(start_server: Start, tmp_path: Path) -> None:
    models = shipped(tmp_path / "digits")
    add(models, 2)
    server = start_server(DIGITS_MODELS=str(models), DIGITS_WORKER="external")
    with httpx.Client(base_url=server.url) as client:

        def index(body: Any = None) -> dict[str, str]:
            found = client.post("/v2/repository/index", content=json.dumps(body) if body else b"").json()
            assert {one["name"] for one in found} == {"digits"}
            return {one["version"]: one["state"] for one in found}

        def load(body: Any = None, **headers: str) -> httpx.Response:
            return client.post("/v2/repository/models/digits/load", json=body, headers=headers)

        assert index() == {"1": "READY", "2": "UNAVAILABLE"}
        assert index({"ready": True}) == {"1": "READY"}
        second = {"parameters": {"config": json.dumps({"version_policy": {"specific": {"versions": [2]}}})}}
        refused = load(second)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert refused.headers["content-type"] == "application/json"
        assert load(second, **AUTHORISED).status_code == 200
        assert index() == {"1": "UNAVAILABLE", "2": "READY"}
        assert client.get("/v2/models/digits").json()["versions"] == ["2"]
        assert client.get("/v2/models/digits/versions/1/ready").status_code == 404
        assert client.post("/v2/models/digits/versions/1/infer", json=message()).status_code == 404
        assert client.post(INFER, json=message()).json()["model_version"] == "2"
        assert load(**AUTHORISED).status_code == 200  # what CURRENT names, once more
        assert index() == {"1": "UNAVAILABLE", "2": "READY"}
        for config in ("7", "{", '{"version_policy": {"specific": {"versions": [1, 2]}}}', '{"version_policy": []}', 7):
            assert load({"parameters": {"config": config}}, **AUTHORISED).status_code == 400
        assert load({"parameters": {"version": 1}}, **AUTHORISED).status_code == 400
        assert load({"parameters": {"config": second["parameters"]["config"].replace("2", "9")}}, **AUTHORISED)
        assert index() == {"1": "UNAVAILABLE", "2": "READY"}
        unload = client.post("/v2/repository/models/digits/unload", headers=AUTHORISED)
        assert (unload.status_code, "stays loaded" in unload.json()["error"]) == (400, True)
