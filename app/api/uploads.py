"""What a body carries: one image or many, in any of the forms that are taken. Pure functions over bytes."""

import base64
import binascii
import codecs
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import numpy as np
import orjson

from app.api.multipart import Part, parse_multipart
from app.errors import BatchTooLarge, DigitsError, MalformedBody, UnsupportedMediaType
from app.vision.decode import is_webp
from app.vision.image_ops import SIDE, Float32Image, UInt8Image
from app.vision.png import decode_plain_png

# Images as plain bytes, one for each pixel.
RAW = "application/octet-stream"

# Fields that a form may have beside its files; they are ignored, but not without limit.
OTHER_FIELDS = 16

# How files begin that may come in place of pixels.
_MARKS = (
    (b"\x89PNG\r\n\x1a\n", "PNG file"),
    (b"\xff\xd8\xff", "JPEG file"),
    (b"GIF8", "GIF file"),
    (b"II*\0", "TIFF file"),
    (b"MM\0*", "TIFF file"),
    (b"\x93NUMPY", "NumPy file"),
    (b"\x1f\x8b\x08", "gzip file"),
    (b"PK\x03\x04", "ZIP file"),
)
_PICTURES = {"PNG file", "JPEG file", "GIF file", "TIFF file", "WebP file", "BMP file"}

# Other types of numbers than uint8 that programs send by mistake.
_NUMBER_TYPES = ("<f8", "<i8", "<f4", "<i4", "<f2", "<i2")  # wide ones first: zeros make them look like narrow ones

_ROWS = f"{SIDE} rows of {SIDE} numbers from 0 (background) to 255 (foreground)"
_STANDARD_ALPHABET = str.maketrans("-_", "+/")


@dataclass(frozen=True)
class File:
    """A picture's bytes. media_type: as the sender called it."""

    content: bytes
    media_type: str | None = None


@dataclass(frozen=True)
class Pixels:
    """(28, 28), 0 to 255: float32, or uint8 where they came as bytes."""

    brightness: Float32Image | UInt8Image


Upload = File | Pixels
T = TypeVar("T")
U = TypeVar("U", bound=Upload | DigitsError)


def parse_one(body: bytes, content_type: str) -> Upload:
    """The one image of a body. Raises a RequestError that says what was expected."""
    media_type = _media_type(content_type)
    if media_type.startswith("image/"):
        return File(body, media_type)
    if media_type == "multipart/form-data":
        fields = MalformedBody("the form has too many fields; send one field 'file'")
        files = _files(body, content_type, 1 + OTHER_FIELDS, fields)
        if len(files) > 1:
            raise MalformedBody(f"the form has {len(files)} fields 'file'; send one, or all of them to /predict/batch")
        return files[0]
    if media_type == "application/json":
        return _one_of(_json(body), {"image": _image, "pixels": _pixels})
    if media_type == RAW:
        if _file_type(body) in _PICTURES:
            return File(body)
        if len(body) != SIDE * SIDE:
            _refuse_other_numbers(body)
            raise MalformedBody(
                f"the body has {len(body):,} bytes; as {RAW} expected {SIDE * SIDE}: {_ROWS}. Send a picture's file"
                " with its image type, such as image/png"
            )
        return Pixels(_raw(body)[0])
    raise _refusal(media_type, 'an image type such as image/png, {"image": …} or {"pixels": …} as application/json')


def unpacked(upload: U) -> U | Pixels:
    """The pixels of a picture in the plainest of files; anything else as it is."""
    levels = decode_plain_png(upload.content) if isinstance(upload, File) else None
    return upload if levels is None else Pixels(levels)


def parse_labelled(body: bytes, content_type: str) -> tuple[Upload, int]:
    """The one image of a body and the digit that it shows. Raises a RequestError that says what was expected."""
    media_type = _media_type(content_type)
    if media_type == "multipart/form-data":
        fields = MalformedBody("the form has too many fields; send one field 'file' and one field 'label'")
        parts = parse_multipart(body, content_type, most=2 + OTHER_FIELDS, too_many=fields)
        files = _only_files(parts)
        labels = [part.content for part in parts if part.name == "label"]
        if len(files) != 1 or len(labels) != 1:
            raise MalformedBody(
                f"the form has {len(files)} fields 'file' and {len(labels)} fields 'label'; send one of each"
            )
        return files[0], _label(int(labels[0]) if labels[0].isdigit() and len(labels[0]) == 1 else None)
    if media_type == "application/json":
        value = _json(body)
        if "label" not in value:
            raise MalformedBody("the JSON object has no field 'label'; send the digit that the image shows")
        label = _label(value.pop("label"))
        if not value:
            raise MalformedBody("the JSON object has a label, but no field 'image' or 'pixels' with what it belongs to")
        return _one_of(value, {"image": _image, "pixels": _pixels}), label
    forms = '{"image": …, "label": 7} or {"pixels": …, "label": 7} as application/json'
    raise _refusal(media_type, forms, "fields 'file' and 'label'")


def _label(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 9:
        raise MalformedBody("label must be one digit, 0 to 9")
    return value


def parse_many(body: bytes, content_type: str, most: int) -> list[Upload | DigitsError] | UInt8Image:
    """The images of a body in order; where one cannot be understood stands its error. Plain bytes are one array, uint8
    (n, 28, 28), that cannot be written to.

    Raises a RequestError when the body as a whole cannot be understood or holds more than ``most`` images.
    """
    too_many = BatchTooLarge(f"there are more than {most:,} images in this call; send them in several")
    media_type = _media_type(content_type)
    if media_type == "multipart/form-data":
        fields = BatchTooLarge(
            f"the form has more than {most + OTHER_FIELDS:,} fields; send at most {most:,} images in one call, and"
            f" {OTHER_FIELDS} other fields"
        )
        files = _files(body, content_type, most + OTHER_FIELDS, fields)
        if len(files) > most:
            raise too_many
        return [*files]
    if media_type == "application/json":
        return _one_of(_json(body), {"images": _each(_image, most, too_many), "pixels": _each(_pixels, most, too_many)})
    if media_type == RAW:
        if (kind := _file_type(body)) in _PICTURES:
            raise MalformedBody(f"the body begins as a {kind}; send pictures as form fields 'file'")
        count, rest = divmod(len(body), SIDE * SIDE)
        if rest or not count:
            raise MalformedBody(f"the body has {len(body):,} bytes; expected {SIDE * SIDE} an image: {_ROWS}")
        if count > most:
            raise too_many
        return _raw(body)
    raise _refusal(
        media_type,
        f'{{"images": […]}} or {{"pixels": […]}} as application/json, or {SIDE * SIDE} bytes an image as {RAW}',
    )


def _raw(body: bytes) -> UInt8Image:
    """At least one image: uint8 (n, 28, 28)."""
    if kind := _file_type(body):
        raise MalformedBody(f"the body begins as a {kind}; send the bytes of the pixels alone, 784 an image")
    _refuse_other_numbers(body)
    levels = np.frombuffer(body, np.uint8).reshape(-1, SIDE, SIDE)
    if levels.max() == 1:
        raise MalformedBody(
            "the bytes run from 0 to 1; expected 0 (background) to 255 (foreground), so multiply by 255"
        )
    return levels


def _file_type(body: bytes) -> str | None:
    """What kind of file a body begins as, where it is none of plain pixels."""
    for mark, kind in _MARKS:
        if body.startswith(mark):
            return kind
    if is_webp(body):
        return "WebP file"
    if body.startswith(b"BM") and int.from_bytes(body[2:6], "little") == len(body):
        return "BMP file"
    return None


def _refuse_other_numbers(body: bytes) -> None:
    """Raises MalformedBody where a body is an array of another type than uint8."""
    for name in _NUMBER_TYPES:
        if _holds(body, np.dtype(name)):
            raise MalformedBody(
                f"the body is an array of {np.dtype(name).name}; send uint8, one byte a pixel, 0 to 255"
            )


def _holds(body: bytes, kind: np.dtype[Any]) -> bool:
    """Whether a body is an array of this type with pixels from 0 to 255. No uint8 picture of a digit looks like that:
    whole columns of it would be empty, or its bytes would all be of few values.
    """
    if len(body) % (SIDE * SIDE * kind.itemsize):
        return False
    values, least = np.frombuffer(body, kind), 1 if kind.kind == "i" else 1e-3
    for part in (values[: 4 * SIDE * SIDE], values):  # a few images of uint8 tell that they are none, as a rule
        lit = part[part != 0]
        if lit.size and not (np.isfinite(lit).all() and lit.min() >= least and lit.max() <= 255):
            return False
    return bool(lit.size) and (kind.itemsize > 2 or 2 * lit.size <= values.size)  # a dark picture of uint8 may be more


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _refusal(media_type: str, forms: str, fields: str = "a field 'file'") -> UnsupportedMediaType:
    said = f"the body's type is {media_type}" if media_type else "the request names no type for its body"
    return UnsupportedMediaType(f"{said}; send multipart/form-data with {fields}, {forms}")


def _files(body: bytes, content_type: str, most_parts: int, too_many: DigitsError) -> list[File]:
    """At least one file. Raises ``too_many`` when the form has more than ``most_parts`` parts of any kind."""
    parts = parse_multipart(body, content_type, most=most_parts, too_many=too_many)
    files = _only_files(parts)
    if not files:
        names = ", ".join(repr(part.name)[:40] for part in parts[:5]) or "no fields"
        raise MalformedBody(f"the form has no field 'file' with an image in it; it has {names}")
    return files


def _only_files(parts: list[Part]) -> list[File]:
    return [File(part.content, part.media_type) for part in parts if part.name == "file"]


def _json(body: bytes) -> dict[str, Any]:
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        value = _pixels_with_nan(body, str(error))
    if not isinstance(value, dict):
        raise MalformedBody("the body is not a JSON object")
    return value


def _pixels_with_nan(body: bytes, fault: str) -> Any:
    """Python's own reader takes NaN and Infinity, so that the pixel that is one can be named."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and list(value) == ["pixels"]:
        return value
    raise MalformedBody(f"the body is not JSON: {fault}")


def _one_of(value: dict[str, Any], readers: dict[str, Callable[[Any, str], T]]) -> T:
    """Read the one field that is there by its reader."""
    names = " or ".join(repr(name) for name in readers)
    if len(value) != 1 or next(iter(value)) not in readers:
        found = ", ".join(repr(name)[:40] for name in list(value)[:5]) or "no fields"
        raise MalformedBody(f"the JSON object must have one field, {names}; it has {found}")
    name, content = next(iter(value.items()))
    return readers[name](content, name)


def _each(
    reader: Callable[[Any, str], Upload], most: int, too_many: DigitsError
) -> Callable[[Any, str], list[Upload | DigitsError]]:
    def read(values: Any, name: str) -> list[Upload | DigitsError]:
        if not isinstance(values, list) or not values:
            raise MalformedBody(f"{name} must be a list of at least one image")
        if len(values) > most:
            raise too_many
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
    value, media_type = value.strip(), None
    if value[:5].lower() == "data:":  # what a browser's canvas and file reader give, RFC 2397
        header, comma, data = value[5:].partition(",")
        if not comma:
            raise MalformedBody(f"{name} is a data: URL without data; expected a comma and base64 after it")
        media_type, *parameters = (part.strip() for part in header.split(";"))
        content = unquote_to_bytes(data)
        if "base64" not in map(str.lower, parameters):
            return File(content, media_type or None)
        value = content.decode("latin-1")
    try:
        # With the line breaks that `base64` writes, and in the alphabet that URLs use, which does without padding.
        plain = "".join(value.split()).translate(_STANDARD_ALPHABET)
        plain += "=" * (-len(plain) % 4)
        return File(base64.b64decode(plain, validate=True), media_type or None)
    except (binascii.Error, ValueError):
        raise MalformedBody(f"{name} is not base64") from None


def _pixels(value: Any, name: str) -> Upload:
    if not isinstance(value, list):
        raise MalformedBody(f"{name} must be {_ROWS}")
    if len(value) != SIDE:
        raise MalformedBody(f"{name} has {len(value)} rows; expected {_ROWS}")
    for y, row in enumerate(value):
        if not isinstance(row, list) or len(row) != SIDE:
            found = f"{len(row)} numbers" if isinstance(row, list) else "not a list"
            raise MalformedBody(f"{name}[{y}] is {found}; expected {_ROWS}")
        if not (set(map(type, row)) <= {int, float} and min(row) >= 0 and max(row) <= 255):
            _name_the_pixel(row, f"{name}[{y}]")
    brightness: Float32Image = np.array(value, np.float32)
    if not np.isfinite(brightness).all():  # NaN hides from min and max
        y = int(np.argwhere(~np.isfinite(brightness))[0, 0])
        _name_the_pixel(value[y], f"{name}[{y}]")
    if 0 < brightness.max() < 2:  # rounding takes some arrays a little over 1; in 0 to 255 it would be blank
        raise MalformedBody(f"{name} runs from 0 to {brightness.max():g}; expected 0 to 255, so multiply by 255")
    return Pixels(brightness)


def _name_the_pixel(row: list[Any], name: str) -> None:
    for x, number in enumerate(row):
        if type(number) not in (int, float):
            raise MalformedBody(f"{name}[{x}] is not a number; expected {_ROWS}")
        if not 0 <= number <= 255:
            raise MalformedBody(f"{name}[{x}] is {str(number)[:20]}; expected 0 (background) to 255 (foreground)")
