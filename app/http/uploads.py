"""What a request carries: one image or many, in any of the forms that are taken."""

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.requests import Request

from app.errors import BatchTooLarge, DigitsError, MalformedBody, UnsupportedMediaType
from app.http.limits import read_body
from app.http.multipart import parse_multipart
from app.settings import Settings
from app.vision.digit import SIDE
from app.vision.ink import Grey

# Fields that a form may have beside its files; they are ignored, but not without limit.
OTHER_FIELDS = 16


@dataclass(frozen=True)
class File:
    """A picture's bytes. media_type: as the sender called it."""

    content: bytes
    media_type: str | None = None


@dataclass(frozen=True)
class Pixels:
    """Float32 (28, 28), 0 to 255."""

    brightness: Grey


Upload = File | Pixels
T = TypeVar("T")


async def read_one(request: Request, settings: Settings) -> Upload:
    """The request's one image. Raises a RequestError that says what was expected."""
    media_type = _media_type(request)
    if media_type.startswith("image/"):
        return File(await read_body(request, settings.max_body), media_type)
    if media_type == "multipart/form-data":
        files = await _files(request, settings, most=1)
        return files[0]
    if media_type == "application/json":
        return _one_of(await _json(request, settings), {"image": _image, "pixels": _pixels})
    raise _refusal(media_type, 'an image type such as image/png, {"image": …} or {"pixels": …} as application/json')


async def read_many(request: Request, settings: Settings) -> list[Upload | DigitsError]:
    """The request's images in order; where one cannot be understood stands its error.

    Raises a RequestError when the request as a whole cannot be understood or holds too many images.
    """
    media_type = _media_type(request)
    if media_type == "multipart/form-data":
        return [*await _files(request, settings, most=settings.max_batch)]
    if media_type == "application/json":
        readers = {"images": _each(_image, settings), "pixels": _each(_pixels, settings)}
        return _one_of(await _json(request, settings), readers)
    raise _refusal(media_type, '{"images": […]} or {"pixels": […]} as application/json')


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _refusal(media_type: str, forms: str) -> UnsupportedMediaType:
    said = f"the body's type is {media_type}" if media_type else "the request names no type for its body"
    return UnsupportedMediaType(f"{said}; send multipart/form-data with a field 'file', {forms}")


async def _files(request: Request, settings: Settings, *, most: int) -> list[File]:
    body = await read_body(request, settings.max_body)
    too_many = _too_many(most) if most > 1 else MalformedBody("the form has too many fields; send one field 'file'")
    parts = parse_multipart(body, request.headers["content-type"], most=most + OTHER_FIELDS, too_many=too_many)
    files = [File(part.content, part.media_type) for part in parts if part.name == "file"]
    if not files:
        names = ", ".join(repr(part.name) for part in parts) or "no fields"
        raise MalformedBody(f"the form has no field 'file' with an image in it; it has {names}")
    if len(files) > most:
        raise (
            too_many
            if most > 1
            else MalformedBody(f"the form has {len(files)} fields 'file'; send one, or all of them to /predict/batch")
        )
    return files


def _too_many(most: int) -> BatchTooLarge:
    return BatchTooLarge(f"there are more than {most:,} images in this call; send them in several")


async def _json(request: Request, settings: Settings) -> dict[str, Any]:
    body = await read_body(request, settings.max_body)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        value = _json_with_nan(body, str(error))
    if not isinstance(value, dict):
        raise MalformedBody("the body is not a JSON object")
    return value


def _json_with_nan(body: bytes, fault: str) -> Any:
    """Python's own reader takes NaN and Infinity, so that the field that holds one can be named."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise MalformedBody(f"the body is not JSON: {fault}") from None


def _one_of(value: dict[str, Any], readers: dict[str, Callable[[Any, str], T]]) -> T:
    """Read the one field that is there by its reader."""
    names = " or ".join(repr(name) for name in readers)
    if len(value) != 1 or next(iter(value)) not in readers:
        found = ", ".join(repr(name)[:40] for name in list(value)[:5]) or "no fields"
        raise MalformedBody(f"the JSON object must have one field, {names}; it has {found}")
    name, content = next(iter(value.items()))
    return readers[name](content, name)


def _each(reader: Callable[[Any, str], Upload], settings: Settings) -> Callable[[Any, str], list[Upload | DigitsError]]:
    def read(values: Any, name: str) -> list[Upload | DigitsError]:
        if not isinstance(values, list) or not values:
            raise MalformedBody(f"{name} must be a list of at least one image")
        if len(values) > settings.max_batch:
            raise _too_many(settings.max_batch)
        found: list[Upload | DigitsError] = []
        for index, value in enumerate(values):
            try:
                found.append(reader(value, f"{name}[{index}]"))
            except DigitsError as error:
                found.append(error)
        return found

    return read


def _image(value: Any, name: str) -> Upload:
    if not isinstance(value, str):
        raise MalformedBody(f"{name} must be a string with an image in base64")
    media_type = None
    if value.startswith("data:"):  # what a browser's canvas and file reader give
        header, _, value = value.partition(",")
        media_type = header[5:].partition(";")[0] or None
    try:
        return File(base64.b64decode(value, validate=True), media_type)
    except (binascii.Error, ValueError):
        raise MalformedBody(f"{name} is not base64") from None


def _pixels(value: Any, name: str) -> Upload:
    shape = f"{SIDE} rows of {SIDE} numbers from 0 (ground) to 255 (ink)"
    if not isinstance(value, list):
        raise MalformedBody(f"{name} must be {shape}")
    if len(value) != SIDE:
        raise MalformedBody(f"{name} has {len(value)} rows; expected {shape}")
    for y, row in enumerate(value):
        if not isinstance(row, list) or len(row) != SIDE:
            found = f"{len(row)} numbers" if isinstance(row, list) else "not a list"
            raise MalformedBody(f"{name}[{y}] is {found}; expected {shape}")
        for x, number in enumerate(row):
            if type(number) not in (int, float):
                raise MalformedBody(f"{name}[{y}][{x}] is not a number; expected {shape}")
            if not 0 <= number <= 255:
                raise MalformedBody(f"{name}[{y}][{x}] is {number}; expected 0 (ground) to 255 (ink)")
    pixels: NDArray[np.float32] = np.array(value, np.float32)
    if 0 < pixels.max() <= 1:
        raise MalformedBody(f"{name} runs from 0 to {pixels.max():g}; expected 0 to 255, so multiply by 255")
    return Pixels(pixels)
