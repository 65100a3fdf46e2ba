"""POST /predict and POST /predict/batch."""

import asyncio
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from app.errors import DigitsError, ImageError
from app.http import examples, problems, schemas
from app.http.dependencies import Services, State
from app.http.uploads import File, Upload, read_many, read_one
from app.inference.live import Live
from app.vision.decode import open_image
from app.vision.read import read, read_grey, read_image

router = APIRouter(tags=["predictions"])

# Up to this size a picture is read in less time than handing it to a thread and back takes.
INLINE_PIXELS = 64 * 64

# Images of a batch that one decoding thread takes at a time.
CHUNK = 32


@router.post(
    "/predict",
    summary="Read one digit",
    openapi_extra=examples.PREDICT,
    responses=examples.responses(schemas.Prediction, "A digit", 413, 415, 422),
    response_class=Response,
)
async def predict(request: Request, services: Services) -> Response:
    """Send one picture: as the form field `file`, as the raw bytes with an image content type, in base64 as
    `{"image": "…"}`, or as 28 rows of 28 numbers, `{"pixels": [[…], …]}`, 0 for the ground and 255 for ink.

    PNG, JPEG, WebP, BMP, GIF (first frame) and TIFF (first page) of any size and colour are read. A 28x28 grey
    image on a dark ground, as MNIST has them, goes to the network unchanged.
    """
    live = services["live"]
    image = await _read_one(await read_one(request, services["settings"]), services)
    probabilities = await live.batcher.predict(image[None])
    return _reply(request, live, _reading(probabilities[0]))


@router.post(
    "/predict/batch",
    summary="Read many digits",
    openapi_extra=examples.PREDICT_BATCH,
    responses=examples.responses(schemas.Predictions, "A digit or an error for each image, in order", 413, 415, 422),
    response_class=Response,
)
async def predict_batch(request: Request, services: Services) -> Response:
    """Send many pictures: as several form fields `file`, in base64 as `{"images": ["…", …]}`, or as numbers,
    `{"pixels": [[[…], …], …]}`. An image that cannot be read becomes an entry with its `error`; the others are
    answered all the same.
    """
    live = services["live"]
    found = await _read_many(await read_many(request, services["settings"]), services)
    images = [image for image in found if not isinstance(image, DigitsError)]
    rows = iter(await live.batcher.predict(np.stack(images)) if images else ())
    entries = [
        {"error": problems.describe(image).body(str(image))} if isinstance(image, DigitsError) else _reading(next(rows))
        for image in found
    ]
    return _reply(request, live, {"predictions": entries})


async def _read_one(upload: Upload, services: State) -> NDArray[np.uint8]:
    if not isinstance(upload, File):
        return read_grey(upload.brightness)
    image = open_image(upload.content, services["settings"].max_pixels, upload.media_type)
    if image.width * image.height <= INLINE_PIXELS:
        return read_image(image)
    return await asyncio.get_running_loop().run_in_executor(services["decoders"], read_image, image)


async def _read_many(uploads: list[Upload | DigitsError], services: State) -> list[NDArray[np.uint8] | DigitsError]:
    loop, max_pixels = asyncio.get_running_loop(), services["settings"].max_pixels
    chunks = [uploads[start : start + CHUNK] for start in range(0, len(uploads), CHUNK)]
    tasks = [loop.run_in_executor(services["decoders"], _read_chunk, chunk, max_pixels) for chunk in chunks]
    return [image for chunk in await asyncio.gather(*tasks) for image in chunk]


def _read_chunk(uploads: list[Upload | DigitsError], max_pixels: int) -> list[NDArray[np.uint8] | DigitsError]:
    return [_read_or_error(upload, max_pixels) for upload in uploads]


def _read_or_error(upload: Upload | DigitsError, max_pixels: int) -> NDArray[np.uint8] | DigitsError:
    if isinstance(upload, DigitsError):
        return upload
    try:
        if isinstance(upload, File):
            return read(upload.content, max_pixels, upload.media_type)
        return read_grey(upload.brightness)
    except ImageError as error:
        return error


def _reading(probabilities: NDArray[np.float32]) -> dict[str, Any]:
    digit = int(probabilities.argmax())
    return {"digit": digit, "confidence": probabilities[digit], "probabilities": probabilities}


def _reply(request: Request, live: Live, content: dict[str, Any]) -> Response:
    request.state.version = live.card.version
    content["model"] = {"name": live.card.name, "version": live.card.version}
    # orjson writes numpy's float32 in the fewest digits that give the same float32 back.
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
