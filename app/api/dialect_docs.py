"""Describes the calls of the client dialects for OpenAPI: bodies that can be sent as they stand, and replies."""

from typing import Any

from app.api.examples import SEVEN, SEVEN_PIXELS
from app.api.tf_serving_messages import SIGNATURES, signature_def

Responses = dict[int | str, dict[str, Any]]
Extra = dict[str, Any]

_STRING = {"type": "string"}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": _STRING}}

_ERRORS = {
    400: ("What was sent is not as expected.", "the body is not a JSON object"),
    401: ("The admin token is missing or wrong.", "this call needs the admin token"),
    404: ("There is no such model, or another version serves.", "Request for unknown model: 'mnist' is not found"),
    408: ("The rest of the body did not come.", "nothing more of the body came for 30 seconds; send it again"),
    409: ("The version does not load; the one that serves goes on.", "3/model.bin: no such file or directory"),
    413: ("The body, the batch or a picture is too large.", "the body is larger than 5,242,880 bytes"),
    415: ("A coding of the body or a picture that is not read here.", "the file is a PDF document"),
    503: ("More is asked than the service can do, or it is stopping.", "the service is stopping"),
    504: ("The answer would have come too late.", "there was too much to do to answer in time"),
}


def _json(schema: Extra, example: Any) -> Extra:
    return {"application/json": {"schema": schema, "example": example}}


def _failures(*statuses: int) -> Responses:
    found: Responses = {}
    for status in statuses:
        description, example = _ERRORS[status]
        found[status] = {"description": description, "content": _json(_ERROR, {"error": example})}
    return found


def _reply(description: str, example: Any, *statuses: int) -> Responses:
    """Describe a JSON reply by an example, all of whose keys are required, and the failures of these statuses."""
    keys = {"required": list(example)} if isinstance(example, dict) else {}
    schema = {"type": "object" if isinstance(example, dict) else "array", **keys}
    return {200: {"description": description, "content": _json(schema, example)}} | _failures(400, *statuses)


def _path(**examples: str) -> Extra:
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": example}
            for name, example in examples.items()
        ]
    }


def _json_body(schema: Extra, examples: dict[str, Any], *, required: bool = True, **others: Extra) -> Extra:
    shown = {name: {"summary": name, "value": value} for name, value in examples.items()}
    content = {"application/json": {"schema": schema, "examples": shown}, **others}
    return {"requestBody": {"required": required, "content": content}}


# ---- Open Inference Protocol v2

MODEL = _path(model="digits")
MODEL_VERSION = _path(model="digits", version="1")

SERVER = _reply("The server", {"name": "digits", "version": "0.1.0", "extensions": ["binary_tensor_data"]})
LIVE = _reply("It is", {"live": True})
READY = _reply("It can", {"ready": True}, 503)
MODEL_READY = _reply("It can", {"name": "digits", "ready": True}, 404, 503)
METADATA = _reply(
    "The model",
    {
        "name": "digits",
        "versions": ["1"],
        "platform": "openvino",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 28, 28, 1]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}],
    },
    404,
)
CONFIG = _reply(
    "The configuration",
    {
        "name": "digits",
        "platform": "openvino",
        "max_batch_size": 1000,
        "input": [{"name": "image", "data_type": "TYPE_UINT8", "format": "FORMAT_NHWC", "dims": [28, 28, 1]}],
        "output": [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [10]}],
    },
    404,
)
_STATISTICS = {
    "model_stats": [
        {
            "name": "digits",
            "version": "1",
            "inference_count": 64,
            "execution_count": 3,
            "inference_stats": {"success": {"count": 3, "ns": 2_000_000}, "fail": {"count": 0, "ns": 0}},
        }
    ]
}
STATISTICS = _reply("The counts", _STATISTICS)
MODEL_STATISTICS = _reply("The counts", _STATISTICS, 404)

_SHAPE = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
_INFER_SCHEMA = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": _STRING,
        "parameters": {"type": "object"},
        "inputs": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype", "data"],
                "properties": {
                    "name": {"type": "string", "enum": ["image"]},
                    "shape": _SHAPE,
                    "datatype": {"type": "string", "enum": ["UINT8", "FP32", "BYTES"]},
                    "parameters": {"type": "object"},
                    "data": {"type": "array"},
                },
            },
        },
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {
                        "type": "string",
                        "enum": ["probabilities", "digit", "confidence", "accepted", "reason"],
                    },
                    "parameters": {"type": "object"},
                },
            },
        },
    },
}
_INFER_EXAMPLES = {
    "An image as numbers": {
        "inputs": [{"name": "image", "shape": [1, 28, 28], "datatype": "UINT8", "data": SEVEN_PIXELS}]
    },
    "A picture in base64, and all outputs": {
        "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [SEVEN]}],
        "outputs": [{"name": name} for name in ("probabilities", "digit", "confidence", "accepted", "reason")],
    },
    "The two most probable digits": {
        "inputs": [{"name": "image", "shape": [1, 28, 28], "datatype": "UINT8", "data": SEVEN_PIXELS}],
        "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}],
    },
}
_INFER_REPLY = {
    "model_name": "digits",
    "model_version": "1",
    "outputs": [
        {
            "name": "probabilities",
            "datatype": "FP32",
            "shape": [1, 10],
            "data": [0, 0, 0, 0.0001, 0, 0, 0, 0.9998, 0, 0.0001],
        }
    ],
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_HEADER_LENGTH = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "required": False,
    "description": "Bytes of the JSON before the binary tensors; 0 where the body is the bytes of one image alone.",
    "schema": {"type": "integer", "minimum": 0},
}
_INFER_BODY = _json_body(_INFER_SCHEMA, _INFER_EXAMPLES)
INFER_REQUESTS = [
    {"parameters": [*path["parameters"], _HEADER_LENGTH], **_INFER_BODY} for path in (MODEL, MODEL_VERSION)
]
_PREDICTION_FAILURES = (404, 408, 413, 415, 503, 504)
INFER = _reply("The outputs", _INFER_REPLY, *_PREDICTION_FAILURES)
INFER[200]["content"]["application/octet-stream"] = _BINARY

INDEX_REQUEST = _json_body(
    {"type": "object", "properties": {"ready": {"type": "boolean"}}}, {"All": {}}, required=False
)
INDEX = _reply("The versions", [{"name": "digits", "version": "1", "state": "READY", "reason": ""}], 408, 413, 415, 503)
_LOAD_EXAMPLES = {
    "Version 1": {"parameters": {"config": '{"version_policy": {"specific": {"versions": [1]}}}'}},
    "The one that CURRENT names": {},
}
LOAD_REQUEST = MODEL | _json_body({"type": "object"}, _LOAD_EXAMPLES, required=False)
LOAD = _reply("It serves", {"name": "digits", "load": True}, 401, 404, 408, 409, 413, 415, 503)
UNLOAD_REQUEST = MODEL
UNLOAD = _failures(400, 401, 404)

# ---- TensorFlow Serving v1

V1_MODEL = MODEL
V1_MODEL_VERSION = MODEL_VERSION
V1_MODEL_LABEL = _path(model="digits", label="stable")

V1_MODELS = _reply("Their names", {"models": ["digits"]})
V1_STATUS = _reply(
    "It does",
    {
        "name": "digits",
        "ready": True,
        "model_version_status": [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ],
    },
    404,
    503,
)
V1_METADATA = _reply(
    "The signatures",
    {
        "model_spec": {"name": "digits", "signature_name": "", "version": "1"},
        "metadata": {"signature_def": {"signature_def": signature_def()}},
    },
    404,
)
_NAME = {"type": "string", "enum": list(SIGNATURES)}
_VALUES: Extra = {"type": "array", "minItems": 1}
_PREDICT_BODY = _json_body(
    {
        "oneOf": [
            {
                "type": "object",
                "required": ["instances"],
                "properties": {"signature_name": _NAME, "instances": _VALUES},
            },
            {"type": "object", "required": ["inputs"], "properties": {"signature_name": _NAME}},
        ]
    },
    {
        "An image in a row": {"instances": [SEVEN_PIXELS]},
        "A picture in base64": {"signature_name": "images", "instances": [{"b64": SEVEN}]},
        "An image in a column, and all of its reading": {"signature_name": "reading", "inputs": [SEVEN_PIXELS]},
    },
)
V1_PATHS = (V1_MODEL, V1_MODEL_VERSION, V1_MODEL_LABEL)
PREDICT_REQUESTS = [path | _PREDICT_BODY for path in V1_PATHS]
PREDICT = _reply(
    "The answers; `outputs` where the images came as `inputs`",
    {"predictions": [[0, 0, 0, 0.0001, 0, 0, 0, 0.9998, 0, 0.0001]]},
    *_PREDICTION_FAILURES,
)
PREDICT[200]["content"]["application/json"]["schema"] = {
    "oneOf": [{"type": "object", "required": ["predictions"]}, {"type": "object", "required": ["outputs"]}]
}
CLASSIFY = _failures(400, 404)
