"""Examples and schemas for the documentation page: bodies that can be sent unchanged, and the replies to expect.

The service parses request bodies itself, so their schemas are written here instead of being derived from types.
"""

import base64
import io
from collections import defaultdict
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel

from app import errors
from app.api import schemas
from app.api.problems import MEDIA_TYPE, describe
from app.api.uploads import RAW
from app.inference.rejection import Rejected, RejectionReason
from app.vision.decode import ALLOWED, MEDIA_TYPES

# A seven of 28x28 pixels, light on dark, as a PNG file.
SEVEN = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAAxUlEQVR42mNgGDaAEUoz/Wdk5uDhERHmkhJU4E1+j6xG8dzFe8++/Pz7/////////3OA"
    "iLJAKHk95n//fnz+/OrL298RTLsOo5ruYK8jx8fJzMDAkPP/iy4uR3A/+T8Lpwvz/r8RxyUn/Px/I06NJf9fCeGS47r7fwJOjfH/fmjgkmO7+n8NIy5J"
    "47//7HCaOvX/LU6cznnxPxOnxpB/n6VxSq76vxynHPfL/7E4JR3/fZNCEWBCYjszXnyOU6f+Xh8SEhgA46xEAHlpWqQAAAAASUVORK5CYII="
)
SEVEN_PIXELS = np.asarray(Image.open(io.BytesIO(base64.b64decode(SEVEN)))).tolist()

_FILE = {"type": "string", "format": "binary", "description": "A picture."}
_BASE64 = {"type": "string", "format": "byte", "description": "A picture in base64, or a data: URL."}
_NUMBERS = {
    "type": "array",
    "minItems": 28,
    "maxItems": 28,
    "items": {
        "type": "array",
        "minItems": 28,
        "maxItems": 28,
        "items": {"type": "number", "minimum": 0, "maximum": 255},
    },
    "description": "28 rows of 28 numbers, from 0 for the background to 255 for the foreground.",
}


def _object(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [name], "properties": {name: schema}, "additionalProperties": False}


def _list(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": schema}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


def _flags(**descriptions: str) -> dict[str, Any]:
    """Query parameters that are true or false."""
    parameters = [
        {
            "name": name,
            "in": "query",
            "description": f"{description} `true` or `1`, `false` or `0`.",
            "schema": {"type": "boolean", "default": False},
        }
        for name, description in descriptions.items()
    ]
    return {"parameters": parameters}


PREDICT = _flags(
    strict="Whether a picture whose answer is not accepted is an error, 422.",
    explain="Whether the reply has an `explanation`.",
) | _body(
    {
        "multipart/form-data": {"schema": {**_object("file", _FILE), "additionalProperties": True}},
        "application/json": {
            "schema": {"oneOf": [_object("image", _BASE64), _object("pixels", _NUMBERS)]},
            "examples": {
                "image": {"summary": "A picture in base64", "value": {"image": SEVEN}},
                "pixels": {"summary": "28 rows of 28 numbers", "value": {"pixels": SEVEN_PIXELS}},
            },
        },
        **{media_type: {"schema": _FILE} for media_type in MEDIA_TYPES},
        RAW: {"schema": {"type": "string", "format": "binary", "description": "784 bytes."}},
    }
)

PREDICT_BATCH = _flags(strict="Whether a picture whose answer is not accepted becomes an `error` entry.") | _body(
    {
        "multipart/form-data": {"schema": {**_object("file", _list(_FILE)), "additionalProperties": True}},
        "application/json": {
            "schema": {"oneOf": [_object("images", _list(_BASE64)), _object("pixels", _list(_NUMBERS))]},
            "examples": {
                "images": {
                    "summary": "Pictures in base64; the second cannot be read",
                    "value": {"images": [SEVEN, "aGVsbG8="]},
                },
                "pixels": {"summary": "Images as numbers", "value": {"pixels": [SEVEN_PIXELS]}},
            },
        },
        RAW: {"schema": {"type": "string", "format": "binary", "description": "784 bytes an image."}},
    }
)

_LABEL = {"type": "integer", "minimum": 0, "maximum": 9, "description": "The digit that the picture shows."}


def _labelled(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [name, "label"], "properties": {name: schema, "label": _LABEL}}


FEEDBACK = _body(
    {
        "multipart/form-data": {"schema": _labelled("file", _FILE)},
        "application/json": {
            "schema": {"oneOf": [_labelled("image", _BASE64), _labelled("pixels", _NUMBERS)]},
            "example": {"image": SEVEN, "label": 7},
        },
    }
)

RETRAIN = {
    "requestBody": {
        "required": False,
        "content": {"application/json": {"schema": schemas.Retrain.model_json_schema(), "example": {"epochs": 2}}},
    }
}

_STREAM = """retry: 1000

id: 1
event: queued
data: {"time":"2026-11-20T18:00:00.000+00:00"}

id: 2
event: running
data: {"attempt":1,"time":"2026-11-20T18:00:00.250+00:00"}

"""
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Events until the job ends", "content": {"text/event-stream": {"example": _STREAM}}},
    204: {"description": "The job has ended, and all its events were sent before"},
}

ARCHIVE: dict[int | str, dict[str, Any]] = {200: {"content": {"application/zip": {}}}}

# The usual meaning of each status, and an error that has it.
_FAILURES: dict[int, tuple[str, errors.DigitsError]] = {
    400: (
        "The request is not a valid HTTP request.",
        errors.MalformedRequest("the request has 2 Host headers; HTTP/1.1 requires one"),
    ),
    401: (
        "The admin token is missing or wrong.",
        errors.Unauthorized("this call needs the admin token; send it as `Authorization: Bearer <token>`"),
    ),
    404: ("There is no such version.", errors.VersionNotFound("there is no version 7; there are: 1, 2")),
    409: (
        "The version cannot be loaded; the current one goes on serving.",
        errors.VersionUnusable("3/model.bin: no such file or directory"),
    ),
    408: (
        "The rest of the body did not arrive.",
        errors.Stalled("no more of the body arrived for 30 seconds; send it again"),
    ),
    413: (
        "The body, the batch or a picture is too large.",
        errors.BodyTooLarge("the body is larger than 5,242,880 bytes; send fewer or smaller images"),
    ),
    415: (
        "The type of the body or of the picture is not supported.",
        errors.UnsupportedImage(f"the file is a PDF document; send {ALLOWED}"),
    ),
    422: (
        "The request is not as expected; `detail` explains what to send.",
        errors.MalformedBody("the form has no field 'file' with an image in it; it has 'picture'"),
    ),
    500: (
        "The version on disk is damaged.",
        errors.ModelError("the version on disk is damaged; the log of the service names the file and the reason"),
    ),
    503: (
        "The folder of the versions cannot be written.",
        errors.NotWritable(
            "CURRENT cannot be replaced: read-only file system; make the models' folder writable for the service"
        ),
    ),
}
NO_FEEDBACK = errors.FeedbackNotFound("there is no correction 7; GET /feedback lists them")
NO_JOB = errors.JobNotFound("there is no job 7; GET /jobs lists them")
JOB_OVER = errors.JobOver("job 7 has ended: published")
QUEUE_FULL = errors.QueueFull("10 jobs are queued already; try again when one has ended, or cancel one")
CANNOT_TRAIN = errors.CannotTrain("there is no training data: set DIGITS_DATA to a folder with the four MNIST files")
NO_DATABASE = errors.DatabaseUnavailable(
    "the database does not answer, so nothing was changed; predictions go on. Try again in a few seconds"
)
# The errors of a prediction while the service has too much to do.
BUSY = errors.Overloaded(), errors.TooLate()
_REQUEST_ID = "5a99867c7fe640d4b0f237b0529693f2"


_PROBLEM = schemas.Problem.model_json_schema()  # built once: it takes 0.25 ms, and there are fifty such replies


def failures(*items: int | errors.DigitsError) -> dict[int | str, dict[str, Any]]:
    """Build the problem replies for a route's ``responses``.

    Args:
        items: Statuses with their usual error, or errors.
    """
    by_status: dict[int, list[tuple[str, errors.DigitsError]]] = defaultdict(list)
    for item in items:
        if isinstance(item, int):
            by_status[item].append(_FAILURES[item])
        else:
            problem = describe(item)
            by_status[problem.status].append((f"{problem.title}.", item))
    return {status: _failure(by_status[status]) for status in by_status}


def _failure(cases: list[tuple[str, errors.DigitsError]]) -> dict[str, Any]:
    """Build the reply of one status from its cases: the description of the first, and an example of each."""
    bodies = {describe(error): describe(error).body(str(error), _REQUEST_ID) for _, error in cases}
    content: dict[str, Any] = {"schema": _PROBLEM}
    if len(bodies) == 1:
        content["example"] = next(iter(bodies.values()))
    else:
        content["examples"] = {
            problem.slug: {"summary": problem.title, "value": body} for problem, body in bodies.items()
        }
    return {"description": cases[0][0], "content": {MEDIA_TYPE: content}}


def responses(
    model: type[BaseModel], description: str, *items: int | errors.DigitsError
) -> dict[int | str, dict[str, Any]]:
    """Build the reply with status 200 and the problem replies for a route's ``responses``."""
    return {200: {"model": model, "description": description}, **failures(*items)}


def _reply(summary: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "value": content | {"model": {"name": "digits", "version": 1}}}


def _reading(reason: RejectionReason | None, *probabilities: float) -> dict[str, Any]:
    confidence = max(probabilities)
    return {
        "digit": probabilities.index(confidence),
        "confidence": confidence,
        "accepted": reason is None,
        "reason": reason,
        "probabilities": list(probabilities),
    }


_EVEN = (0.1, 0.11, 0.1, 0.1, 0.1, 0.1, 0.1, 0.09, 0.1, 0.1)
_HESITANT = (0.01, 0, 0.01, 0.01, 0.52, 0.01, 0, 0.02, 0.01, 0.41)
_ACCEPTED = _reading(None, 0, 0, 0, 0.0001, 0, 0, 0, 0.9998, 0, 0.0001)
_UNSURE = _reading(RejectionReason.UNSURE, *_HESITANT)
_SEVERAL = _reading(RejectionReason.SEVERAL_DIGITS, 0.02, 0.03, 0.04, 0.81, 0, 0.05, 0, 0.01, 0.03, 0.01)
_NO_DIGIT, _BLANK = _reading(RejectionReason.NO_DIGIT, *_EVEN), _reading(RejectionReason.BLANK, *_EVEN)

# The errors of a call with ``strict``, by reason.
_REJECTED = {reason: Rejected(reason, np.array(_HESITANT, np.float32)) for reason in RejectionReason}
_MALFORMED_PARAMETER = errors.MalformedParameter("strict is 'yes'; send strict=true or strict=false, or leave it out")

PREDICTION = responses(
    schemas.Prediction, "A digit", 408, 413, 415, 422, *_REJECTED.values(), _MALFORMED_PARAMETER, *BUSY
)  # fmt: skip
_PREDICTION_EXAMPLES = {
    "accepted": _reply("A seven", _ACCEPTED),
    "unsure": _reply("A four or a nine", _UNSURE),
    "several_digits": _reply("Several digits", _SEVERAL),
    "no_digit": _reply("Something else", _NO_DIGIT),
    "blank": _reply("An empty page", _BLANK),
}

_UNREADABLE = {"error": describe(errors.NotAnImage("")).body("the file is empty; send the bytes of an image")}
_REFUSED = {
    "error": describe(_REJECTED[RejectionReason.SEVERAL_DIGITS]).body(str(_REJECTED[RejectionReason.SEVERAL_DIGITS]))
}
PREDICTIONS = responses(
    schemas.Predictions, "A digit or an error for each image, in order", 408, 413, 415, 422, _MALFORMED_PARAMETER, *BUSY
)
_PREDICTIONS_EXAMPLES = {
    "plain": _reply("A seven, several digits, and no picture", {"predictions": [_ACCEPTED, _SEVERAL, _UNREADABLE]}),
    "strict": _reply("The same with `strict`", {"predictions": [_ACCEPTED, _REFUSED, _UNREADABLE]}),
}


def add_replies(api: dict[str, Any]) -> dict[str, Any]:
    """Add examples of successful replies to an OpenAPI document. FastAPI itself would drop nulls from them."""
    for path, replies in (("/predict", _PREDICTION_EXAMPLES), ("/predict/batch", _PREDICTIONS_EXAMPLES)):
        api["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["examples"] = replies
    return api
