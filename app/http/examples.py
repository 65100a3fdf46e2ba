"""What the documentation page shows: bodies that can be sent as they stand, and the replies to expect.

Request bodies are read by our own code, so they are described here instead of being derived from types.
"""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel

from app import errors
from app.http import schemas
from app.http.problems import MEDIA_TYPE, describe
from app.http.uploads import RAW
from app.vision.decode import ALLOWED, MEDIA_TYPES

# A seven of 28x28 pixels, light on dark, as a PNG file.
SEVEN = (
    "iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAAxUlEQVR42mNgGDaAEUoz/Wdk5uDhERHmkhJU4E1+j6xG8dzFe8++/Pz7/////////3OA"
    "iLJAKHk95n//fnz+/OrL298RTLsOo5ruYK8jx8fJzMDAkPP/iy4uR3A/+T8Lpwvz/r8RxyUn/Px/I06NJf9fCeGS47r7fwJOjfH/fmjgkmO7+n8NIy5J"
    "47//7HCaOvX/LU6cznnxPxOnxpB/n6VxSq76vxynHPfL/7E4JR3/fZNCEWBCYjszXnyOU6f+Xh8SEhgA46xEAHlpWqQAAAAASUVORK5CYII="
)
_PIXELS = np.asarray(Image.open(io.BytesIO(base64.b64decode(SEVEN)))).tolist()

_FILE = {"type": "string", "format": "binary", "description": "A picture."}
_BASE64 = {"type": "string", "format": "byte", "description": "A picture in base64; a data: URL will do too."}
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
    "description": "28 rows of 28 numbers, 0 for the ground and 255 for ink.",
}


def _object(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [name], "properties": {name: schema}, "additionalProperties": False}


def _list(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": schema}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


PREDICT = _body(
    {
        "multipart/form-data": {"schema": {**_object("file", _FILE), "additionalProperties": True}},
        "application/json": {
            "schema": {"oneOf": [_object("image", _BASE64), _object("pixels", _NUMBERS)]},
            "examples": {
                "image": {"summary": "A picture in base64", "value": {"image": SEVEN}},
                "pixels": {"summary": "28 rows of 28 numbers", "value": {"pixels": _PIXELS}},
            },
        },
        **{media_type: {"schema": _FILE} for media_type in MEDIA_TYPES},
    }
)

PREDICT_BATCH = _body(
    {
        "multipart/form-data": {"schema": {**_object("file", _list(_FILE)), "additionalProperties": True}},
        "application/json": {
            "schema": {"oneOf": [_object("images", _list(_BASE64)), _object("pixels", _list(_NUMBERS))]},
            "examples": {
                "images": {
                    "summary": "Pictures in base64; the second cannot be read",
                    "value": {"images": [SEVEN, "aGVsbG8="]},
                },
                "pixels": {"summary": "Images as numbers", "value": {"pixels": [_PIXELS]}},
            },
        },
        RAW: {"schema": {"type": "string", "format": "binary", "description": "784 bytes an image."}},
    }
)

_LABEL = {"type": "integer", "minimum": 0, "maximum": 9, "description": "The digit that it shows."}


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
    200: {"description": "Events until the job ends", "content": {"text/event-stream": {"example": _STREAM}}}
}

ARCHIVE: dict[int | str, dict[str, Any]] = {200: {"content": {"application/zip": {}}}}

# What the status means here, and one error that has it.
_FAILURES: dict[int, tuple[str, errors.DigitsError]] = {
    401: (
        "The admin token is missing or wrong.",
        errors.Unauthorized("this call needs the admin token; send it as `Authorization: Bearer <token>`"),
    ),
    404: ("There is no such version.", errors.VersionNotFound("there is no version 7; there are: 1, 2")),
    409: (
        "The version does not load; the one that serves goes on.",
        errors.VersionUnusable("3/model.bin: no such file or directory"),
    ),
    413: (
        "The body, the batch or a picture is too large.",
        errors.BodyTooLarge("the body is larger than 5,242,880 bytes; send fewer or smaller images"),
    ),
    415: (
        "A type of body or of picture that is not read here.",
        errors.UnsupportedImage(f"the file is a PDF document; send {ALLOWED}"),
    ),
    422: (
        "What was sent is not as expected; `detail` says what to send.",
        errors.MalformedBody("the form has no field 'file' with an image in it; it has 'picture'"),
    ),
    500: (
        "The version on disk is damaged.",
        errors.ModelError("the version on disk is damaged; the log of the service says which file and why"),
    ),
    503: (
        "The folder of the versions cannot be written.",
        errors.NotWritable(
            "CURRENT cannot be replaced: read-only file system; let the service write the models' folder"
        ),
    ),
}
NO_JOB = errors.JobNotFound("there is no job 7; GET /jobs lists them")
JOB_OVER = errors.JobOver("job 7 has ended: published")
QUEUE_FULL = errors.QueueFull("10 jobs wait already; try again when one has ended, or cancel one")
CANNOT_TRAIN = errors.CannotTrain("there is no training data: set DIGITS_DATA to a folder with the four MNIST files")
NO_DATABASE = errors.DatabaseUnavailable(
    "the database does not answer, so nothing was changed; predictions go on. Try again in a few seconds"
)
# A prediction that finds the service with more to do than it can.
BUSY = (
    errors.Overloaded("there is more to do than the service can; try again in a moment"),
    errors.TooLate("there was too much to do to answer in time; try again in a moment"),
)
_REQUEST_ID = "5a99867c7fe640d4b0f237b0529693f2"


def failures(*found: int | errors.DigitsError) -> dict[int | str, dict[str, Any]]:
    """Problem replies, for a route's ``responses``: the usual one of a status, or those of these errors."""
    told: dict[int | str, dict[str, Any]] = {}
    for failure in found:
        if isinstance(failure, int):
            told[failure] = _failure(*_FAILURES[failure])
        else:
            problem = describe(failure)
            told[problem.status] = _failure(f"{problem.title}.", failure)
    return told


def _failure(description: str, error: errors.DigitsError) -> dict[str, Any]:
    example = describe(error).body(str(error), _REQUEST_ID)
    schema = schemas.Problem.model_json_schema()
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema, "example": example}}}


def responses(
    model: type[BaseModel], description: str, *statuses: int | errors.DigitsError
) -> dict[int | str, dict[str, Any]]:
    """The good reply and the problem replies, for a route's ``responses``."""
    return {200: {"model": model, "description": description}, **failures(*statuses)}
