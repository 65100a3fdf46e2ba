"""Parses and writes messages of the Open Inference Protocol v2 over HTTP: JSON, with binary tensors after it.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol describes the JSON, and
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md the binary tensors.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.api.replies import to_json
from app.api.tensors import SHAPES_TEXT, from_base64, from_fractions, from_levels, is_image_shape, numbers, parse_json
from app.api.uploads import RAW, File, Pixels, Upload, parse_one
from app.errors import BatchTooLarge, DigitsError, MalformedBody
from app.inference.engine import Probabilities
from app.inference.rejection import RejectionReason
from app.vision.image_ops import UInt8Image

INPUT = "image"
INPUT_TEXT = "send UINT8 from 0 to 255, FP32 from 0 to 1, or pictures as BYTES"

# The outputs and their datatypes. A reply has the first one where the request names none.
PROBABILITIES = "probabilities"
OUTPUTS = {PROBABILITIES: "FP32", "digit": "INT64", "confidence": "FP32", "accepted": "BOOL", "reason": "BYTES"}

DIGITS = 10

_NUMBER_TYPES: dict[str, np.dtype[Any]] = {"UINT8": np.dtype("u1"), "FP32": np.dtype("<f4")}
_MAX_LENGTH_DIGITS = 12  # of a header with a length; no body is as long

_LENGTH = struct.Struct("<I")  # before each element of a BYTES tensor


@dataclass(frozen=True)
class RequestedOutput:
    """An output that the reply must have.

    Attributes:
        name: A key of OUTPUTS.
        classes: Number of most probable classes to reply with instead of the values; 0 for the values.
        binary: Whether its values follow the JSON.
    """

    name: str
    classes: int = 0
    binary: bool = False


@dataclass(frozen=True)
class InferRequest:
    """A parsed request.

    Attributes:
        images: uint8 (n, 28, 28), or picture files.
        outputs: The outputs of the reply, in order.
        id: The client's id of the request, for the reply.
    """

    images: UInt8Image | list[Upload | DigitsError]
    outputs: tuple[RequestedOutput, ...]
    id: str | None = None


def parse_infer(body: bytes, header_length: str | None, max_batch: int) -> InferRequest:
    """Parse the body of a request.

    Args:
        body: JSON, with binary tensors after it.
        header_length: The header Inference-Header-Content-Length, the number of bytes of the JSON. None if there is
            none: then the body is JSON. "0": the body is the binary tensor, or the picture file, of one image.
        max_batch: Most images.

    Raises:
        MalformedBody: The body is not as expected; the text names what is wrong.
        BatchTooLarge: There are more images.
    """
    json_size = len(body) if header_length is None else _header_length(header_length, len(body))
    if header_length is not None and json_size == 0:
        upload = parse_one(body, RAW)
        outputs = (RequestedOutput(PROBABILITIES, binary=True),)
        if isinstance(upload, Pixels):
            return InferRequest(np.asarray(upload.brightness, np.uint8)[None], outputs)
        return InferRequest([upload], outputs)
    message = parse_json(body[:json_size])
    parameters = _object(message.get("parameters"), "parameters")
    return InferRequest(
        images=_images(message.get("inputs"), body, json_size, header_length is not None, max_batch),
        outputs=_outputs(message.get("outputs"), _flag(parameters, "binary_data_output", default=False)),
        id=_id(message.get("id")),
    )


def _header_length(text: str, body_size: int) -> int:
    name = "Inference-Header-Content-Length"
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_LENGTH_DIGITS):
        raise MalformedBody(f"{name} is {text!r:.40}; expected the number of bytes of the JSON")
    if int(text) > body_size:
        raise MalformedBody(f"{name} is {int(text):,}, but the body has {body_size:,} bytes")
    return int(text)


def _images(
    inputs: Any, body: bytes, json_size: int, has_header_length: bool, max_batch: int
) -> UInt8Image | list[Upload | DigitsError]:
    """Parse the one input."""
    if not isinstance(inputs, list) or len(inputs) != 1:
        found = f"{len(inputs)} inputs" if isinstance(inputs, list) else "no list of inputs"
        raise MalformedBody(f"the request has {found}; expected one, {INPUT!r}")
    tensor = _object(inputs[0], "the input", required=True)
    if tensor.get("name") != INPUT:
        raise MalformedBody(f"unexpected inference input {tensor.get('name')!r:.40}; the model has one, {INPUT!r}")
    what, datatype = f"input {INPUT!r}", tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in (*_NUMBER_TYPES, "BYTES"):
        raise MalformedBody(f"{what} has the datatype {datatype!r:.40}; {INPUT_TEXT}")
    shape = _shape(tensor.get("shape"), what, datatype, max_batch)
    parameters = _object(tensor.get("parameters"), f"parameters of {what}")
    if any(name.startswith("shared_memory") for name in parameters):
        raise MalformedBody(f"{what} lies in shared memory, which is not read here; send its bytes")
    content = _binary(parameters.get("binary_data_size"), body, json_size, has_header_length, what)
    if content is not None and "data" in tensor:
        raise MalformedBody(f"{what} has both 'data' and 'binary_data_size'; send one of them")
    if content is None and "data" not in tensor:
        raise MalformedBody(f"{what} has neither 'data' nor 'binary_data_size'; send one of them")
    if datatype == "BYTES":
        return _pictures(tensor.get("data"), content, shape[0], what)
    if content is None:
        values = _json_numbers(tensor["data"], shape, datatype, what)
    else:
        number_type = _NUMBER_TYPES[datatype]
        expected = math.prod(shape) * number_type.itemsize
        if len(content) != expected:
            raise MalformedBody(
                f"{what} has {len(content):,} bytes; expected {expected:,} for {datatype} of shape {shape}"
            )
        values = np.frombuffer(content, number_type)
    return from_levels(values, what) if datatype == "UINT8" else from_fractions(values, what)


def _shape(shape: Any, what: str, datatype: str, max_batch: int) -> list[int]:
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise MalformedBody(f"{what} has no shape; send a list of integers")
    fits = shape[1:] in ([], [1]) if datatype == "BYTES" else is_image_shape(shape[1:])
    if not shape or not fits or shape[0] < 1:
        expected = "[n] for n pictures" if datatype == "BYTES" else f"[n, …] for n images, each {SHAPES_TEXT}"
        raise MalformedBody(f"{what} has the shape {shape!s:.40}; expected {expected}")
    if shape[0] > max_batch:
        raise BatchTooLarge(f"there are more than {max_batch:,} images in this call; send them in several")
    return shape


def _binary(size: Any, body: bytes, json_size: int, has_header_length: bool, what: str) -> bytes | None:
    """Return the bytes after the JSON, or None if the input has no binary data."""
    rest = len(body) - json_size
    if size is None:
        if rest:
            raise MalformedBody(f"{rest:,} bytes follow the JSON, but {what} has no 'binary_data_size'")
        return None
    if type(size) is not int or size < 0:
        raise MalformedBody(f"binary_data_size of {what} is {size!r:.40}; expected its number of bytes")
    if not has_header_length:
        raise MalformedBody(
            f"{what} has a 'binary_data_size', but the request has no Inference-Header-Content-Length header, the "
            "number of bytes of its JSON"
        )
    if size != rest:
        raise MalformedBody(f"binary_data_size of {what} is {size:,}, but {rest:,} bytes follow the JSON")
    return body[json_size:]


def _json_numbers(data: Any, shape: list[int], datatype: str, what: str) -> NDArray[Any]:
    """Convert 'data', nested in any way or flat, to an array of as many numbers as the shape has."""
    values = numbers(data, f"data of {what}")
    if values.size != math.prod(shape):
        raise MalformedBody(f"data of {what} has {values.size:,} numbers; expected {math.prod(shape):,}")
    if datatype == "UINT8" and values.dtype.kind == "f":
        raise MalformedBody(f"data of {what} has numbers that are no integers; {INPUT_TEXT}")
    return values


def _pictures(data: Any, content: bytes | None, count: int, what: str) -> list[Upload | DigitsError]:
    """Parse the picture files of a BYTES tensor: binary content, or base64 in 'data'."""
    if content is not None:
        return [File(element) for element in split_bytes(content, count, what)]
    if not isinstance(data, list):
        raise MalformedBody(f"data of {what} must be a list of pictures in base64")
    texts = [item[0] if isinstance(item, list) and len(item) == 1 else item for item in data]  # of shape [n, 1]
    if len(texts) != count:
        raise MalformedBody(f"data of {what} has {len(texts):,} elements; expected {count:,}")
    return [from_base64(text, f"data[{place}] of {what}") for place, text in enumerate(texts)]


def split_bytes(content: bytes, count: int, what: str) -> list[bytes]:
    """Split a binary BYTES tensor into its elements: each a little-endian uint32 with its length, then its bytes.

    Raises:
        MalformedBody: There are not ``count`` of them, or bytes are left or missing.
    """
    elements, place = list[bytes](), 0
    while place < len(content) and len(elements) < count:
        start = place + _LENGTH.size
        if start > len(content):
            break
        place = start + _LENGTH.unpack_from(content, place)[0]
        elements.append(content[start:place])
    if len(elements) != count or place != len(content):
        raise MalformedBody(
            f"the bytes of {what} are not {count:,} elements, each its length as 4 bytes and then as many bytes"
        )
    return elements


def _outputs(requested: Any, binary: bool) -> tuple[RequestedOutput, ...]:
    if requested is None or requested == []:
        return (RequestedOutput(PROBABILITIES, binary=binary),)
    if not isinstance(requested, list):
        raise MalformedBody("outputs must be a list")
    outputs: dict[str, RequestedOutput] = {}
    for item in requested:
        tensor = _object(item, "an output", required=True)
        name = tensor.get("name")
        if not isinstance(name, str) or name not in OUTPUTS:
            raise MalformedBody(f"unexpected inference output {name!r:.40}; the model has {', '.join(OUTPUTS)}")
        if name in outputs:
            raise MalformedBody(f"output {name!r} is requested twice")
        what = f"output {name!r}"
        parameters = _object(tensor.get("parameters"), f"parameters of {what}")
        if any(key.startswith("shared_memory") for key in parameters):
            raise MalformedBody(f"{what} is requested in shared memory, which is not written here")
        classes = parameters.get("classification", 0)
        if type(classes) is not int or classes < 0 or (classes and name != PROBABILITIES):
            raise MalformedBody(f"classification of {what} is {classes!r:.40}; {PROBABILITIES!r} takes 1 to {DIGITS}")
        outputs[name] = RequestedOutput(name, min(classes, DIGITS), _flag(parameters, "binary_data", default=binary))
    return tuple(outputs.values())


def _object(value: Any, what: str, *, required: bool = False) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    if value is None and not required:
        return {}
    raise MalformedBody(f"{what} must be a JSON object")


def _flag(parameters: dict[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise MalformedBody(f"parameter {name} is {value!r:.40}; expected true or false")
    return value


def _id(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        raise MalformedBody("id must be a string of whole characters")
    return value


def write_infer(
    request: InferRequest,
    name: str,
    version: int,
    rows: Probabilities,
    reasons: Sequence[RejectionReason | None],
) -> tuple[bytes, int | None]:
    """Write the body of a reply.

    Args:
        request: The request.
        name: Name of the model.
        version: Version of the model.
        rows: float32 (n, 10), the probabilities.
        reasons: For each picture why its answer is rejected, or None.

    Returns:
        The body, and the number of bytes of its JSON, or None if all of it is JSON.
    """
    outputs, tensors = [], list[bytes]()
    for output in request.outputs:
        datatype, values = _values(output, rows, reasons)
        shape = list(values.shape)
        tensor: dict[str, Any] = {"name": output.name, "datatype": datatype, "shape": shape}
        if output.binary:
            tensors.append(_to_bytes(datatype, values))
            tensor["parameters"] = {"binary_data_size": len(tensors[-1])}
        elif datatype == "BYTES":
            tensor["data"] = [element.decode() for element in values.ravel()]
        else:
            tensor["data"] = values.ravel()
        outputs.append(tensor)
    message: dict[str, Any] = {"model_name": name, "model_version": str(version), "outputs": outputs}
    if request.id is not None:
        message["id"] = request.id
    header = to_json(message)
    return (b"".join((header, *tensors)), len(header)) if tensors else (header, None)


def _values(
    output: RequestedOutput, rows: Probabilities, reasons: Sequence[RejectionReason | None]
) -> tuple[str, NDArray[Any]]:
    """Return the datatype and the values of an output. BYTES are an object array of Python's bytes."""
    if output.classes:
        return "BYTES", _classes(rows, output.classes)
    values: NDArray[Any]
    match output.name:
        case "digit":
            values = rows.argmax(axis=1)
        case "confidence":
            values = rows.max(axis=1)
        case "accepted":
            values = np.array([reason is None for reason in reasons])
        case "reason":
            values = np.array([(reason or "").encode() for reason in reasons], object)
        case _:
            values = rows
    return OUTPUTS[output.name], values


def _classes(rows: Probabilities, count: int) -> NDArray[Any]:
    """Return the most probable digits of each image as ``probability:index:label``: (n, count)."""
    best = np.argsort(-rows, axis=1, kind="stable")[:, :count].tolist()
    texts = [
        [f"{row[digit]:f}:{digit}:{digit}".encode() for digit in digits] for row, digits in zip(rows, best, strict=True)
    ]
    return np.array(texts, object)


def _to_bytes(datatype: str, values: NDArray[Any]) -> bytes:
    """Return the binary tensor: little-endian, row-major."""
    if datatype == "BYTES":
        return b"".join(_LENGTH.pack(len(element)) + element for element in values.ravel())
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
