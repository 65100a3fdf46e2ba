"""KServe's client, as its users write it: protocol v1, which is its default, and v2."""

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Predict = Callable[[bytes], dict[str, Any]]


def ask(protocol: str, call: Any) -> Any:
    """What a coroutine function makes of a client."""

    async def run() -> Any:
        async with InferenceRESTClient(RESTConfig(protocol=protocol)) as client:
            return await call(client)

    return asyncio.run(run())


def request(values: NDArray[Any], datatype: str, *, binary: bool, **parameters: Any) -> InferRequest:
    given = InferInput("image", list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=binary)
    return InferRequest("digits", [given], parameters=parameters or None)


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_health(address: str, protocol: str) -> None:
    async def call(client: InferenceRESTClient) -> None:
        base = f"http://{address}"
        assert await client.is_server_live(base) is True
        assert await client.is_model_ready(base, "digits") is True
        if protocol == "v2":
            assert await client.is_server_ready(base) is True
            assert await client.is_model_ready(base, "mnist") is False
        else:
            with pytest.raises(httpx.HTTPStatusError, match="Could not find any versions of model mnist"):
                await client.is_model_ready(base, "mnist")

    ask(protocol, call)


@pytest.mark.parametrize("reply_binary", [True, False])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
def test_v2(
    address: str,
    images: Images,
    expected: NDArray[np.float32],
    datatype: str,
    binary: bool,
    reply_binary: bool,
) -> None:
    values = images if datatype == "UINT8" else images.astype(np.float32) / 255
    given = request(values, datatype, binary=binary, binary_data_output=reply_binary)

    async def call(client: InferenceRESTClient) -> Any:
        return await client.infer(f"http://{address}", given, model_name="digits")

    answers = ask("v2", call)
    assert answers.model_name == "digits"
    assert answers.id
    np.testing.assert_array_equal(answers.outputs[0].as_numpy(), expected)


@pytest.mark.parametrize("binary", [True, False])
def test_v2_pictures(address: str, binary: bool, pictures: Path, predict: Predict) -> None:
    content = (pictures / "seven-28x28.png").read_bytes()
    element = content if binary else base64.b64encode(content).decode()
    given = request(np.array([element], object), "BYTES", binary=binary)

    async def call(client: InferenceRESTClient) -> Any:
        return await client.infer(f"http://{address}", given, model_name="digits")

    (found,) = ask("v2", call).outputs[0].as_numpy()
    np.testing.assert_array_equal(found, np.array(predict(content)["probabilities"], np.float32))


def test_v1(address: str, images: Images, expected: NDArray[np.float32]) -> None:
    async def call(client: InferenceRESTClient) -> Any:
        instances = (images.astype(np.float32) / 255).tolist()
        return await client.infer(f"http://{address}", {"instances": instances}, model_name="digits")

    np.testing.assert_array_equal(np.array(ask("v1", call)["predictions"], np.float32), expected)


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_errors(address: str, protocol: str) -> None:
    async def call(client: InferenceRESTClient) -> None:
        data = {"instances": [[[2.5] * 28] * 28]} if protocol == "v1" else {"inputs": [{"name": "image"}]}
        with pytest.raises(httpx.HTTPStatusError, match=r"instances\[0\] has 2.5|has the datatype None"):
            await client.infer(f"http://{address}", data, model_name="digits")

    ask(protocol, call)
