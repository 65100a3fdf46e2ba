"""Triton's client, as its users write it: numbers, pictures, classes, compression, metadata, and the repository."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as httpclient
import tritonclient.http.aio as aioclient
from numpy.typing import NDArray
from PIL import Image
from tritonclient.utils import InferenceServerException

Images = NDArray[np.uint8]
Predict = Callable[[bytes], dict[str, Any]]


@pytest.fixture
def client(address: str) -> Any:
    with httpclient.InferenceServerClient(address) as client:
        yield client


def tensor(values: NDArray[Any], datatype: str, **options: Any) -> httpclient.InferInput:
    found = httpclient.InferInput("image", values.shape, datatype)
    found.set_data_from_numpy(values, **options)
    return found


def test_health_and_metadata(client: httpclient.InferenceServerClient) -> None:
    assert client.is_server_live(query_params={"test_1": 1})
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", "1")
    assert not client.is_model_ready("digits", "2")
    assert client.get_server_metadata()["name"] == "digits"
    for version in ("", "1"):
        assert client.get_model_metadata("digits", version)["versions"] == ["1"]
        assert client.get_model_config("digits", version)["max_batch_size"] == 1000
        (found,) = client.get_inference_statistics("digits", version)["model_stats"]
        assert found["name"] == "digits"
    assert len(client.get_inference_statistics()["model_stats"]) == 1
    with pytest.raises(InferenceServerException, match="Request for unknown model"):
        client.get_model_metadata("wrong_model_name")


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (1, 28, 28), (784,)])
@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
def test_numbers(
    client: httpclient.InferenceServerClient,
    images: Images,
    expected: NDArray[np.float32],
    datatype: str,
    shape: tuple[int, ...],
    binary: bool,
) -> None:
    values = images if datatype == "UINT8" else images.astype(np.float32) / 255
    given = tensor(values.reshape(-1, *shape), datatype, binary_data=binary)
    answers = client.infer("digits", [given], request_id="42")
    assert answers.get_response()["id"] == "42"
    assert answers.get_response()["model_version"] == "1"
    assert answers.as_numpy("probabilities").dtype == np.float32
    np.testing.assert_array_equal(answers.as_numpy("probabilities"), expected)
    wanted = httpclient.InferRequestedOutput("probabilities", binary_data=not binary)
    np.testing.assert_array_equal(client.infer("digits", [given], outputs=[wanted]).as_numpy("probabilities"), expected)


def test_one_image_equals_predict(client: httpclient.InferenceServerClient, pictures: Path, predict: Predict) -> None:
    content = (pictures / "seven-28x28.png").read_bytes()
    answers = client.infer("digits", [tensor(np.array([content], object), "BYTES")])
    np.testing.assert_array_equal(
        answers.as_numpy("probabilities")[0], np.array(predict(content)["probabilities"], np.float32)
    )


def test_pictures_and_all_outputs(client: httpclient.InferenceServerClient, pictures: Path, predict: Predict) -> None:
    names = ["seven.png", "three.jpg", "two.gif", "five.webp", "several.png"]
    contents = [(pictures / name).read_bytes() for name in names]
    outputs = [
        httpclient.InferRequestedOutput(name) for name in ("digit", "confidence", "accepted", "reason", "probabilities")
    ]
    answers = client.infer("digits", [tensor(np.array(contents, object), "BYTES")], outputs=outputs)
    assert answers.as_numpy("digit")[:4].tolist() == [7, 3, 2, 5]
    assert answers.as_numpy("accepted").tolist() == [True, True, True, True, False]
    assert answers.as_numpy("reason").tolist() == [b"", b"", b"", b"", b"several_digits"]
    np.testing.assert_array_equal(answers.as_numpy("confidence"), answers.as_numpy("probabilities").max(axis=1))
    assert [predict(content)["digit"] for content in contents] == answers.as_numpy("digit").tolist()


def test_classification(
    client: httpclient.InferenceServerClient, images: Images, expected: NDArray[np.float32]
) -> None:
    wanted = [httpclient.InferRequestedOutput("probabilities", class_count=3)]
    found = client.infer("digits", [tensor(images, "UINT8")], outputs=wanted).as_numpy("probabilities")
    assert found.shape == (64, 3)
    for row, probabilities in zip(found, expected, strict=True):
        value, index, label = row[0].decode().split(":")
        assert index == label == str(probabilities.argmax())
        assert float(value) == pytest.approx(probabilities.max(), abs=1e-6)


@pytest.mark.parametrize("reply_coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_compression(
    client: httpclient.InferenceServerClient,
    images: Images,
    expected: NDArray[np.float32],
    coding: str | None,
    reply_coding: str | None,
) -> None:
    for binary in (True, False):
        wanted = [httpclient.InferRequestedOutput("probabilities", binary_data=binary)]
        answers = client.infer(
            "digits",
            [tensor(images, "UINT8")],
            outputs=wanted,
            request_compression_algorithm=coding,
            response_compression_algorithm=reply_coding,
        )
        np.testing.assert_array_equal(answers.as_numpy("probabilities"), expected)


def test_several_calls_at_once(address: str, images: Images, expected: NDArray[np.float32]) -> None:
    with httpclient.InferenceServerClient(address, concurrency=8) as client:
        calls = [client.async_infer("digits", [tensor(images, "UINT8")]) for _ in range(8)]
        for call in calls:
            np.testing.assert_array_equal(call.get_result().as_numpy("probabilities"), expected)


def test_errors(client: httpclient.InferenceServerClient, images: Images, pictures: Path) -> None:
    with pytest.raises(InferenceServerException, match="FP64") as failed:
        client.infer("digits", [tensor(images.astype(np.float64), "FP64")])
    assert failed.value.status() == "400"
    content = (pictures / "seven.png").read_bytes()
    with pytest.raises(InferenceServerException, match="picture 1: the file is not an image"):
        client.infer("digits", [tensor(np.array([content, b"hello"], object), "BYTES")])
    with pytest.raises(InferenceServerException, match="version 7 is not loaded") as failed:
        client.infer("digits", [tensor(images, "UINT8")], model_version="7")
    assert failed.value.status() == "404"
    with pytest.raises(InferenceServerException, match="there is no such path"):
        client.get_log_settings()


def test_repository(client: httpclient.InferenceServerClient, authorised: dict[str, str]) -> None:
    index = client.get_model_repository_index()
    assert index == [{"name": "digits", "version": "1", "state": "READY", "reason": ""}]
    with pytest.raises(InferenceServerException, match="admin token"):
        client.load_model("digits")
    client.load_model("digits", headers=authorised)
    config = json.dumps({"version_policy": {"specific": {"versions": [1]}}})
    client.load_model("digits", headers=authorised, config=config)
    with pytest.raises(InferenceServerException, match="there is no version 7"):
        client.load_model("digits", headers=authorised, config=config.replace("1", "7"))
    with pytest.raises(InferenceServerException, match="stays loaded"):
        client.unload_model("digits", headers=authorised)


def test_aio(address: str, images: Images, expected: NDArray[np.float32], pictures: Path) -> None:
    async def ask() -> None:
        async with aioclient.InferenceServerClient(address) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("digits")
            assert (await client.get_server_metadata())["name"] == "digits"
            assert (await client.get_model_metadata("digits"))["versions"] == ["1"]
            assert (await client.get_model_config("digits"))["name"] == "digits"
            for coding, reply_coding in ((None, None), ("gzip", "gzip"), ("deflate", "deflate")):
                answers = await client.infer(
                    "digits",
                    [tensor(images, "UINT8")],
                    request_compression_algorithm=coding,
                    response_compression_algorithm=reply_coding,
                )
                np.testing.assert_array_equal(answers.as_numpy("probabilities"), expected)
            fractions = tensor(images.astype(np.float32) / 255, "FP32")
            answers = await client.infer("digits", [fractions])
            np.testing.assert_array_equal(answers.as_numpy("probabilities"), expected)
            contents = [(pictures / name).read_bytes() for name in ("seven.png", "three.jpg")]
            wanted = [aioclient.InferRequestedOutput("probabilities", class_count=1)]
            answers = await client.infer("digits", [tensor(np.array(contents, object), "BYTES")], outputs=wanted)
            assert [text.decode()[-1] for text in answers.as_numpy("probabilities")[:, 0]] == ["7", "3"]

    asyncio.run(ask())


def test_as_an_image_client(client: httpclient.InferenceServerClient, pictures: Path) -> None:
    """Triton's ``image_client.py`` takes all that it needs of the metadata and the configuration."""
    metadata, config = client.get_model_metadata("digits"), client.get_model_config("digits")
    (given,), (wanted,), (configured,) = metadata["inputs"], metadata["outputs"], config["input"]
    assert config["max_batch_size"] > 0
    assert wanted["datatype"] == "FP32"
    assert configured["format"] == "FORMAT_NHWC"
    _, height, width, channels = given["shape"]
    assert channels == 1
    grey = Image.open(pictures / "seven.png").convert("L").resize((width, height), Image.Resampling.BILINEAR)
    batch = np.stack([np.asarray(grey)[:, :, np.newaxis]] * 3)
    image = httpclient.InferInput(given["name"], batch.shape, given["datatype"])
    image.set_data_from_numpy(batch)
    outputs = [httpclient.InferRequestedOutput(wanted["name"], class_count=1)]
    found = client.infer("digits", [image], outputs=outputs).as_numpy(wanted["name"])
    assert [text.decode().split(":")[1:] for text in found[:, 0]] == 3 * [["7", "7"]]
