"""Parses request bodies with one image or many, in any of the supported forms. Pure functions over bytes."""

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

# Images as plain bytes, one byte for each pixel.
RAW = "application/octet-stream"

# Most other fields of a form. They are ignored.
MAX_OTHER_FIELDS = 16

# How files begin that clients send by mistake in place of pixels.
_MAGIC_BYTES = (
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

# Types other than uint8 that clients send by mistake, wide ones first: their zeros make them look like narrow ones.
_OTHER_DTYPES = ("<f8", "<i8", "<f4", "<i4", "<f2", "<i2")

_ROWS = f"{SIDE} rows of {SIDE} numbers from 0 (background) to 255 (foreground)"
_STANDARD_ALPHABET = str.maketrans("-_", "+/")


@dataclass(frozen=True)
class File:
    """The bytes of a picture's file.

    Attributes:
        content: The bytes.
        media_type: The media type that the client gave, if any.
    """

    content: bytes
    media_type: str | None = None


@dataclass(frozen=True)
class Pixels:
    """The pixels of an image.

    Attributes:
        brightness: (28, 28), 0 to 255. float32, or uint8 if the pixels came as bytes.
    """

    brightness: Float32Image | UInt8Image


Upload = File | Pixels
T = TypeVar("T")
U = TypeVar("U", bound=Upload | DigitsError)


def parse_one(body: bytes, content_type: str) -> Upload:
    """Parse a body with one image.

    Args:
        body: The whole body.
        content_type: The Content-Type header.

    Raises:
        RequestError: The body is not valid. The text tells what was expected.
    """
    media_type = _media_type(content_type)
    if media_type.startswith("image/"):
        return File(body, media_type)
    if media_type == "multipart/form-data":
        too_many = MalformedBody("the form has too many fields; send one field 'file'")
        files = _files(body, content_type, 1 + MAX_OTHER_FIELDS, too_many)
        if len(files) > 1:
            raise MalformedBody(f"the form has {len(files)} fields 'file'; send one, or all of them to /predict/batch")
        return files[0]
    if media_type == "application/json":
        return _parse_field(_parse_json_object(body), {"image": _parse_image, "pixels": _parse_pixels})
    if media_type == RAW:
        if _file_type(body) in _PICTURES:
            return File(body)
        if len(body) != SIDE * SIDE:
            _reject_other_dtypes(body)
            raise MalformedBody(
                f"the body has {len(body):,} bytes; expected {SIDE * SIDE} as {RAW}: {_ROWS}. Send a picture's file"
                " with its own type, such as image/png"
            )
        return Pixels(_parse_raw(body)[0])
    raise _refusal(media_type, 'an image type such as image/png, {"image": …} or {"pixels": …} as application/json')


def unpack_plain_png(upload: U) -> U | Pixels:
    """Return the pixels of a plain grey PNG file of 28x28 pixels, and any other upload unchanged."""
    pixels = decode_plain_png(upload.content) if isinstance(upload, File) else None
    return upload if pixels is None else Pixels(pixels)


def parse_labelled(body: bytes, content_type: str) -> tuple[Upload, int]:
    """Parse a body with one image and its label.

    Args:
        body: The whole body.
        content_type: The Content-Type header.

    Returns:
        The image, and the digit that it shows.

    Raises:
        RequestError: The body is not valid. The text tells what was expected.
    """
    media_type = _media_type(content_type)
    if media_type == "multipart/form-data":
        too_many = MalformedBody("the form has too many fields; send one field 'file' and one field 'label'")
        parts = parse_multipart(body, content_type, max_parts=2 + MAX_OTHER_FIELDS, too_many=too_many)
        files = _file_parts(parts)
        labels = [part.content for part in parts if part.name == "label"]
        if len(files) != 1 or len(labels) != 1:
            raise MalformedBody(
                f"the form has {len(files)} fields 'file' and {len(labels)} fields 'label'; send one of each"
            )
        return files[0], _parse_label(int(labels[0]) if labels[0].isdigit() and len(labels[0]) == 1 else None)
    if media_type == "application/json":
        value = _parse_json_object(body)
        if "label" not in value:
            raise MalformedBody("the JSON object has no field 'label'; send the digit that the image shows")
        label = _parse_label(value.pop("label"))
        if not value:
            raise MalformedBody("the JSON object has a label, but no field 'image' or 'pixels'")
        return _parse_field(value, {"image": _parse_image, "pixels": _parse_pixels}), label
    forms = '{"image": …, "label": 7} or {"pixels": …, "label": 7} as application/json'
    raise _refusal(media_type, forms, "fields 'file' and 'label'")


def _parse_label(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 9:
        raise MalformedBody("label must be one digit, 0 to 9")
    return value


def parse_many(body: bytes, content_type: str, max_images: int) -> list[Upload | DigitsError] | UInt8Image:
    """Parse a body with many images.

    Args:
        body: The whole body.
        content_type: The Content-Type header.
        max_images: Most images.

    Returns:
        The images in order, with an error in place of each that is not valid. Images that came as plain bytes are one
        read-only array, uint8 (n, 28, 28).

    Raises:
        RequestError: The body as a whole is not valid, or has more than ``max_images`` images.
    """
    too_many = BatchTooLarge(f"there are more than {max_images:,} images in this call; send them in several calls")
    media_type = _media_type(content_type)
    if media_type == "multipart/form-data":
        max_parts = max_images + MAX_OTHER_FIELDS
        too_many_parts = BatchTooLarge(
            f"the form has more than {max_parts:,} fields; send at most {max_images:,} images and {MAX_OTHER_FIELDS}"
            " other fields in one call"
        )
        files = _files(body, content_type, max_parts, too_many_parts)
        if len(files) > max_images:
            raise too_many
        return [*files]
    if media_type == "application/json":
        parsers = {
            "images": _list_parser(_parse_image, max_images, too_many),
            "pixels": _list_parser(_parse_pixels, max_images, too_many),
        }
        return _parse_field(_parse_json_object(body), parsers)
    if media_type == RAW:
        if (kind := _file_type(body)) in _PICTURES:
            raise MalformedBody(f"the body begins as a {kind}; send pictures as form fields 'file'")
        count, rest = divmod(len(body), SIDE * SIDE)
        if rest or not count:
            raise MalformedBody(f"the body has {len(body):,} bytes; expected {SIDE * SIDE} an image: {_ROWS}")
        if count > max_images:
            raise too_many
        return _parse_raw(body)
    raise _refusal(
        media_type,
        f'{{"images": […]}} or {{"pixels": […]}} as application/json, or {SIDE * SIDE} bytes an image as {RAW}',
    )


def _parse_raw(body: bytes) -> UInt8Image:
    """Return plain bytes as images, uint8 (n, 28, 28)."""
    if kind := _file_type(body):
        raise MalformedBody(f"the body begins as a {kind}; send the bytes of the pixels alone, 784 an image")
    _reject_other_dtypes(body)
    pixels = np.frombuffer(body, np.uint8).reshape(-1, SIDE, SIDE)
    if pixels.max() == 1:
        raise MalformedBody(
            "the bytes run from 0 to 1; expected 0 (background) to 255 (foreground), so multiply by 255"
        )
    return pixels


def _file_type(body: bytes) -> str | None:
    """Return the type of file that a body begins like, or None."""
    for magic, kind in _MAGIC_BYTES:
        if body.startswith(magic):
            return kind
    if is_webp(body):
        return "WebP file"
    if body.startswith(b"BM") and int.from_bytes(body[2:6], "little") == len(body):
        return "BMP file"
    return None


def _reject_other_dtypes(body: bytes) -> None:
    """Raise MalformedBody if a body is an array of another type than uint8."""
    for name in _OTHER_DTYPES:
        dtype = np.dtype(name)
        if _is_array_of(body, dtype):
            raise MalformedBody(f"the body is an array of {dtype.name}; send uint8, one byte a pixel, 0 to 255")


def _is_array_of(body: bytes, dtype: np.dtype[Any]) -> bool:
    """Return whether a body is an array of this type with pixels from 0 to 255.

    A uint8 picture of a digit is not mistaken for one: whole columns of it would have to be empty, or its bytes would
    have to be of few values.
    """
    if len(body) % (SIDE * SIDE * dtype.itemsize):
        return False
    values, smallest = np.frombuffer(body, dtype), 1 if dtype.kind == "i" else 1e-3
    for part in (values[: 4 * SIDE * SIDE], values):  # a few images are usually enough to see that they are uint8
        nonzero = part[part != 0]
        if nonzero.size and not (np.isfinite(nonzero).all() and nonzero.min() >= smallest and nonzero.max() <= 255):
            return False
    # A dark picture of uint8 passes as a two-byte type, but with more nonzero values.
    return bool(nonzero.size) and (dtype.itemsize > 2 or 2 * nonzero.size <= values.size)


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _refusal(media_type: str, forms: str, fields: str = "a field 'file'") -> UnsupportedMediaType:
    found = f"the body's type is {media_type}" if media_type else "the request has no Content-Type"
    return UnsupportedMediaType(f"{found}; send multipart/form-data with {fields}, {forms}")


def _files(body: bytes, content_type: str, max_parts: int, too_many: DigitsError) -> list[File]:
    """Return the files of a form, at least one. Raise ``too_many`` if it has more than ``max_parts`` fields in all."""
    parts = parse_multipart(body, content_type, max_parts=max_parts, too_many=too_many)
    files = _file_parts(parts)
    if not files:
        names = ", ".join(repr(part.name)[:40] for part in parts[:5]) or "no fields"
        raise MalformedBody(f"the form has no field 'file' with an image in it; it has {names}")
    return files


def _file_parts(parts: list[Part]) -> list[File]:
    return [File(part.content, part.media_type) for part in parts if part.name == "file"]


def _parse_json_object(body: bytes) -> dict[str, Any]:
    body = body.removeprefix(codecs.BOM_UTF8)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        value = _pixels_with_nan(body, str(error))
    if not isinstance(value, dict):
        raise MalformedBody("the body is not a JSON object")
    return value


def _pixels_with_nan(body: bytes, reason: str) -> Any:
    """Parse pixels with NaN or Infinity, which Python's json module accepts, so that the error can name the pixel."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and list(value) == ["pixels"]:
        return value
    raise MalformedBody(f"the body is not JSON: {reason}")


def _parse_field(value: dict[str, Any], parsers: dict[str, Callable[[Any, str], T]]) -> T:
    """Parse the only field of a JSON object with the parser for its name."""
    names = " or ".join(repr(name) for name in parsers)
    if len(value) != 1 or next(iter(value)) not in parsers:
        found = ", ".join(repr(name)[:40] for name in list(value)[:5]) or "no fields"
        raise MalformedBody(f"the JSON object must have one field, {names}; it has {found}")
    name, content = next(iter(value.items()))
    return parsers[name](content, name)


def _list_parser(
    parse_item: Callable[[Any, str], Upload], max_items: int, too_many: DigitsError
) -> Callable[[Any, str], list[Upload | DigitsError]]:
    """Return a parser for a list of items, which puts errors in place of items that are not valid."""

    def parse(values: Any, name: str) -> list[Upload | DigitsError]:
        if not isinstance(values, list) or not values:
            raise MalformedBody(f"{name} must be a list of at least one image")
        if len(values) > max_items:
            raise too_many
        items: list[Upload | DigitsError] = []
        for index, value in enumerate(values):
            try:
                items.append(parse_item(value, f"{name}[{index}]"))
            except DigitsError as error:
                items.append(error)
        return items

    return parse


def _parse_image(value: Any, name: str) -> Upload:
    if not isinstance(value, str):
        raise MalformedBody(f"{name} must be a string with an image in base64")
    value, media_type = value.strip(), None
    if value[:5].lower() == "data:":  # from a browser's canvas or FileReader, RFC 2397
        header, comma, data = value[5:].partition(",")
        if not comma:
            raise MalformedBody(f"{name} is a data: URL without data; expected a comma, then base64")
        media_type, *parameters = (part.strip() for part in header.split(";"))
        content = unquote_to_bytes(data)
        if "base64" not in map(str.lower, parameters):
            return File(content, media_type or None)
        value = content.decode("latin-1")
    try:
        # Line breaks, the URL-safe alphabet and missing padding are accepted.
        text = "".join(value.split()).translate(_STANDARD_ALPHABET)
        text += "=" * (-len(text) % 4)
        return File(base64.b64decode(text, validate=True), media_type or None)
    except (binascii.Error, ValueError):
        raise MalformedBody(f"{name} is not base64") from None


def _parse_pixels(value: Any, name: str) -> Upload:
    if not isinstance(value, list):
        raise MalformedBody(f"{name} must be {_ROWS}")
    if len(value) != SIDE:
        raise MalformedBody(f"{name} has {len(value)} rows; expected {_ROWS}")
    for y, row in enumerate(value):
        if not isinstance(row, list) or len(row) != SIDE:
            found = f"{len(row)} numbers" if isinstance(row, list) else "not a list"
            raise MalformedBody(f"{name}[{y}] is {found}; expected {_ROWS}")
        if not (set(map(type, row)) <= {int, float} and min(row) >= 0 and max(row) <= 255):
            _raise_for_pixel(row, f"{name}[{y}]")
    brightness: Float32Image = np.array(value, np.float32)
    if not np.isfinite(brightness).all():  # min and max do not find NaN
        y = int(np.argwhere(~np.isfinite(brightness))[0, 0])
        _raise_for_pixel(value[y], f"{name}[{y}]")
    if (
        0 < brightness.max() < 2
    ):  # rounding takes some arrays to slightly above 1; from 0 to 255, such an image is blank
        raise MalformedBody(f"{name} runs from 0 to {brightness.max():g}; expected 0 to 255, so multiply by 255")
    return Pixels(brightness)


def _raise_for_pixel(row: list[Any], name: str) -> None:
    for x, number in enumerate(row):
        if type(number) not in (int, float):
            raise MalformedBody(f"{name}[{x}] is not a number; expected {_ROWS}")
        if not 0 <= number <= 255:
            raise MalformedBody(f"{name}[{x}] is {str(number)[:20]}; expected 0 (background) to 255 (foreground)")
