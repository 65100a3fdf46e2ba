"""Clients of TensorFlow Serving: ``requests`` as tutorials use it, and curl."""

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Predict = Callable[[bytes], dict[str, Any]]


def test_as_a_tutorial(address: str, images: Images, expected: NDArray[np.float32]) -> None:
    for shape in ((28, 28), (28, 28, 1), (784,)):
        test_images = images.reshape(-1, *shape) / 255.0
        data = json.dumps({"signature_name": "serving_default", "instances": test_images.tolist()})
        headers = {"content-type": "application/json"}
        url = f"http://{address}/v1/models/digits:predict"
        json_response = requests.post(url, data=data, headers=headers, timeout=60)
        predictions = json.loads(json_response.text)["predictions"]
        assert np.argmax(predictions[0]) == expected[0].argmax()
        np.testing.assert_array_equal(np.array(predictions, np.float32), expected)


def test_integers_columns_and_versions(address: str, images: Images, expected: NDArray[np.float32]) -> None:
    for path in ("digits", "digits/versions/1", "digits/labels/stable"):
        url = f"http://{address}/v1/models/{path}"
        assert requests.get(url, timeout=60).json()["model_version_status"][0]["state"] == "AVAILABLE"
        assert requests.get(f"{url}/metadata", timeout=60).json()["model_spec"]["version"] == "1"
        found = requests.post(f"{url}:predict", json={"inputs": images.tolist()}, timeout=60).json()
        np.testing.assert_array_equal(np.array(found["outputs"], np.float32), expected)
        found = requests.post(
            f"{url}:predict", json={"instances": [{"image": image} for image in images.tolist()]}, timeout=60
        ).json()
        np.testing.assert_array_equal(np.array(found["predictions"], np.float32), expected)


@pytest.mark.parametrize("name", ["seven.png", "three.jpg", "several.png"])
def test_pictures(address: str, name: str, pictures: Path, predict: Predict) -> None:
    content = (pictures / name).read_bytes()
    text = base64.b64encode(content).decode()
    url = f"http://{address}/v1/models/digits:predict"
    body = {"signature_name": "images", "instances": [{"b64": text}]}
    (found,) = requests.post(url, json=body, timeout=60).json()["predictions"]
    known = predict(content)
    known.pop("model")
    assert found == known | {"reason": known["reason"] or ""}


def test_curl(address: str) -> None:
    """Curl calls what -d sends a form."""
    url = f"http://{address}/v1/models/digits:predict"
    body = json.dumps({"instances": [np.zeros((28, 28)).tolist()]})
    done = subprocess.run(["curl", "-sS", "-d", "@-", url], input=body, capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)["predictions"][0]) == 10
    url = f"http://{address}/v2/models/digits/infer"
    body = json.dumps(
        {"inputs": [{"name": "image", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}], "id": "1"}
    )
    done = subprocess.run(["curl", "-sS", "-d", "@-", url], input=body, capture_output=True, text=True, check=True)
    reply = json.loads(done.stdout)
    assert reply["id"] == "1"
    assert reply["outputs"][0]["shape"] == [1, 10]
