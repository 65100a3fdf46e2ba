"""Parses and writes messages of TensorFlow Serving's REST API v1: rows (``instances``) and columns (``inputs``).

https://www.tensorflow.org/tfx/serving/api_rest describes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.api.replies import readings, to_json
from app.api.tensors import SHAPES_TEXT, from_base64, from_fractions, from_levels, is_image_shape, numbers, parse_json
from app.api.uploads import Upload
from app.errors import BatchTooLarge, DigitsError, MalformedBody
from app.inference.engine import Probabilities
from app.inference.rejection import RejectionReason
from app.vision.image_ops import UInt8Image

# TensorFlow type and shape of an input or output; -1 is the number of images.
Tensor = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Signature:
    """The input and the outputs of a kind of call."""

    input: str
    input_tensor: Tensor
    outputs: dict[str, Tensor]

    @property
    def takes_pictures(self) -> bool:
        """Whether the input is picture files instead of numbers."""
        return self.input_tensor[0] == "DT_STRING"


_IMAGE: Tensor = ("DT_FLOAT", (-1, 28, 28))
_PROBABILITIES: dict[str, Tensor] = {"probabilities": ("DT_FLOAT", (-1, 10))}
_READING: dict[str, Tensor] = {
    "digit": ("DT_INT64", (-1,)),
    "confidence": ("DT_FLOAT", (-1,)),
    "accepted": ("DT_BOOL", (-1,)),
    "reason": ("DT_STRING", (-1,)),
    **_PROBABILITIES,
}

DEFAULT_SIGNATURE = "serving_default"
SIGNATURES = {
    DEFAULT_SIGNATURE: Signature("image", _IMAGE, _PROBABILITIES),
    "reading": Signature("image", _IMAGE, _READING),
    "images": Signature("image_bytes", ("DT_STRING", (-1,)), _READING),
}


@dataclass(frozen=True)
class PredictRequest:
    """A parsed request.

    Attributes:
        signature: A key of SIGNATURES.
        by_row: Whether the images came as ``instances``; then the reply has an entry for each.
        images: uint8 (n, 28, 28), or picture files.
    """

    signature: str
    by_row: bool
    images: UInt8Image | list[Upload | DigitsError]


def parse_predict(body: bytes, max_batch: int) -> PredictRequest:
    """Parse the body of a request.

    Args:
        body: JSON.
        max_batch: Most images.

    Raises:
        MalformedBody: The body is not as expected; the text names what is wrong.
        BatchTooLarge: There are more images.
    """
    message = parse_json(body)
    name = message.get("signature_name", DEFAULT_SIGNATURE)
    name = DEFAULT_SIGNATURE if name == "" else name
    if not isinstance(name, str):
        raise MalformedBody("signature_name must be a string")
    if name not in SIGNATURES:
        raise MalformedBody(f'Serving signature name: "{name:.40}" not found in signature def; send one of {_known()}')
    signature = SIGNATURES[name]
    by_row = "instances" in message
    if by_row == ("inputs" in message):
        raise MalformedBody(f"the JSON object has {'both' if by_row else 'neither'} 'instances' and 'inputs'; send one")
    values = _rows(message["instances"], signature) if by_row else _column(message["inputs"], signature)
    if len(values) > max_batch:
        raise BatchTooLarge(f"there are more than {max_batch:,} images in this call; send them in several")
    what = "instances" if by_row else "inputs"
    if signature.takes_pictures:
        return PredictRequest(name, by_row, [_picture(value, f"{what}[{n}]") for n, value in enumerate(values)])
    images = np.concatenate([_image(value, f"{what}[{place}]") for place, value in enumerate(values)])
    return PredictRequest(name, by_row, images)


def _known() -> str:
    return ", ".join(SIGNATURES)


def _rows(instances: Any, signature: Signature) -> list[Any]:
    """Return the input's value of each instance: the instance itself, or the value of its one key."""
    if not isinstance(instances, list) or not instances:
        raise MalformedBody("'instances' must be a list of at least one image")
    return [
        _named(one, signature, f"instances[{place}]") if isinstance(one, dict) and not _is_base64(one) else one
        for place, one in enumerate(instances)
    ]


def _column(inputs: Any, signature: Signature) -> list[Any]:
    """Return the values of ``inputs``: a list, or an object with the list as the value of its one key."""
    if isinstance(inputs, dict) and not _is_base64(inputs):
        inputs = _named(inputs, signature, "inputs")
    if not isinstance(inputs, list) or not inputs:
        raise MalformedBody("'inputs' must be a list of at least one image")
    return inputs


def _named(value: dict[str, Any], signature: Signature, what: str) -> Any:
    if list(value) != [signature.input]:
        found = ", ".join(repr(name)[:40] for name in list(value)[:5]) or "no keys"
        raise MalformedBody(f"{what} has {found}; the signature has one input, {signature.input!r}")
    return value[signature.input]


def _is_base64(value: dict[str, Any]) -> bool:
    """Return whether an object stands for bytes. "b64" is its only key then."""
    return "b64" in value


def _picture(value: Any, what: str) -> Upload:
    if isinstance(value, list) and len(value) == 1:  # of shape [n, 1]
        value = value[0]
    if not isinstance(value, dict) or list(value) != ["b64"]:
        raise MalformedBody(f'{what} must be {{"b64": "…"}}, a picture in base64, and nothing beside it')
    return from_base64(value["b64"], what)


def _image(value: Any, what: str) -> UInt8Image:
    """Convert an instance to uint8 (1, 28, 28)."""
    if isinstance(value, dict):
        raise MalformedBody(f'{what} is an object; the signature takes numbers, and "images" takes {{"b64": "…"}}')
    array = numbers(value, what)
    if not is_image_shape(array.shape):
        raise MalformedBody(f"{what} has the shape {list(array.shape)!s:.40}; expected {SHAPES_TEXT}")
    if array.dtype.kind != "f" and array.max() > 1:
        return from_levels(array, what)
    return from_fractions(array, what)


def write_predict(request: PredictRequest, rows: Probabilities, reasons: Sequence[RejectionReason | None]) -> bytes:
    """Write the body of a reply.

    Args:
        request: The request.
        rows: float32 (n, 10), the probabilities.
        reasons: For each picture why its answer is rejected, or None.
    """
    outputs = SIGNATURES[request.signature].outputs
    key = "predictions" if request.by_row else "outputs"
    if len(outputs) == 1:  # without its name, as TensorFlow Serving does
        return to_json({key: rows})
    found = [reading | {"reason": reading["reason"] or ""} for reading in readings(rows, reasons)]
    if request.by_row:
        return to_json({key: found})
    return to_json({key: {name: [reading[name] for reading in found] for name in outputs}})


def signature_def() -> dict[str, Any]:
    """Return all signatures as a SignatureDefMap in JSON, where 64-bit integers are strings."""
    return {
        name: {
            "inputs": {signature.input: _tensor_info(f"{name}_{signature.input}:0", signature.input_tensor)},
            "outputs": {
                output: _tensor_info(f"StatefulPartitionedCall:{place}", tensor)
                for place, (output, tensor) in enumerate(signature.outputs.items())
            },
            "method_name": "tensorflow/serving/predict",
            "defaults": {},
        }
        for name, signature in SIGNATURES.items()
    }


def _tensor_info(name: str, tensor: Tensor) -> dict[str, Any]:
    dtype, shape = tensor
    dims = [{"size": str(size), "name": ""} for size in shape]
    return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": name}
