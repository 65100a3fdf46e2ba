"""The routes POST /predict and POST /predict/batch."""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

import numpy as np
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from app.api.decode_pool import LARGE_PIXELS
from app.api.explanation import explanation
from app.api.parameters import flag
from app.api.rejections import decide
from app.api.replies import JSON, failure, model_name, prediction, readings, to_json
from app.api.uploads import File, Pixels, Upload, parse_many, parse_one, unpack_plain_png
from app.errors import DigitsError, ImageError
from app.inference.attribution import attribute, occlude
from app.inference.engine import Images, Probabilities
from app.inference.manager import LoadedModel
from app.inference.rejection import Rejected, RejectionReason
from app.services import Services, model_of, services_of
from app.vision.decode import is_webp, open_image
from app.vision.image_ops import SIDE, UInt8Image
from app.vision.mnist_like import is_mnist_like
from app.vision.pipeline import (
    PreprocessedImage,
    preprocess,
    preprocess_mnist_like,
    preprocess_picture,
    preprocess_pixels,
    stack,
)

T = TypeVar("T")

# For each picture of a batch: why preprocessing rejects it, the error if it cannot be read, or None.
Outcomes = list[RejectionReason | DigitsError | None]

# Bodies and files up to this size are parsed on the event loop, which takes less time than a change of threads.
INLINE_BYTES = 4096

# Images of 28x28 in a batch that are preprocessed together, in less than a millisecond on a slow machine.
CHUNK_IMAGES = 64

# Time after which reading a batch lets other tasks run: that of about ten pictures like MNIST's.
TURN_SECONDS = 0.0004

# Entries of a batch's reply that are written before other tasks run.
CHUNK_ENTRIES = 50


async def predict(request: Request) -> Response:
    """Reads the digit on one picture.

    Send the picture as the form field `file`, as its bytes with an image content type, in base64 as
    `{"image": "…"}`, as 28 rows of 28 numbers, `{"pixels": [[…], …]}`, or as 784 bytes of `application/octet-stream`.
    Numbers and bytes run from 0 for the background to 255 for the foreground.

    PNG, JPEG, WebP, BMP, GIF (first frame) and TIFF (first page) of any size and colour are read. A 28x28 grey
    image on a dark background, centred and scaled as in MNIST, goes to the network unchanged.

    Every picture that can be opened gets its digit and probabilities. If `accepted` is false, do not rely on them:
    `reason` tells whether the picture is blank, shows no digit or several, or leaves the network unsure. With
    `?strict=true` such a picture is an error.

    With `?explain=true` the reply has an `explanation`: what the network sees, where that is on the picture, and which
    pixels spoke for the answer. One patch of 4x4 pixels after the other is covered, and a pixel counts for as much as
    covering it makes the answer less probable.
    """
    services, model = services_of(request.app), model_of(request)
    model.batcher.admit()  # before the body is read, so that a refusal costs little
    strict, explain = flag(request, "strict"), flag(request, "explain")
    body = await services.bodies.read(request, services.settings.max_body)
    picture = await read_picture(request, services, await parse_body(request, services, body, parse_one))
    rows = await run_network(request, services, model, picture.image[None])
    (reason,) = reasons = decide([picture.reason], rows, model, services.metrics)
    if strict and reason:
        raise Rejected(reason, rows[0])
    (reading,) = readings(rows, reasons)
    if explain:
        covered = await run_network(request, services, model, occlude(picture.image), network_only=True)
        reading["explanation"] = explanation(picture, attribute(picture.image, reading["digit"], covered))
    return Response(prediction(model, reading), media_type=JSON)


async def predict_batch(request: Request) -> Response:
    """Reads the digit on each of many pictures.

    Send them as several form fields `file`, in base64 as `{"images": ["…", …]}`, as numbers,
    `{"pixels": [[[…], …], …]}`, or as `application/octet-stream` with 784 bytes an image: 28 rows of 28, from 0 for
    the background to 255 for the foreground.

    The reply has one entry for each picture, in order. For a picture that cannot be read, it is an `error`; the others
    are answered all the same. With `?strict=true` an answer that is not accepted is an error, too.
    """
    services, model = services_of(request.app), model_of(request)
    model.batcher.admit()
    strict = flag(request, "strict")
    body = await services.bodies.read(request, services.settings.max_body)

    def parse(body: bytes, content_type: str) -> list[Upload | DigitsError] | UInt8Image:
        return parse_many(body, content_type, services.settings.max_batch)

    uploads = await parse_body(request, services, body, parse)
    with Yielder(request) as yielder:
        images, outcomes = await read_batch(request, services, uploads, yielder)
    rows = await run_network(request, services, model, images) if len(images) else np.empty((0, 10), np.float32)
    pieces, done = [], 0
    for start in range(0, len(outcomes), CHUNK_ENTRIES):
        entries, readable = _entries(outcomes[start : start + CHUNK_ENTRIES], rows[done:], model, services, strict)
        pieces.append(to_json(entries)[1:-1])
        done += readable
        await asyncio.sleep(0)  # other requests need not wait for the whole reply
    return Response(
        b'{"predictions":[%b],"model":%b}' % (b",".join(pieces), to_json(model_name(model))), media_type=JSON
    )


async def read_picture(
    request: Request, services: Services, upload: Upload, *, admitted: bool = False
) -> PreprocessedImage:
    """Decode and preprocess one picture: on the event loop if it has 28x28 pixels, else in a thread.

    Args:
        request: The request; if its client disconnects while the picture waits, the picture is not read.
        services: The services of the app.
        upload: The picture.
        admitted: See ``DecodePool.run``.

    Returns:
        The image for the network, and why it is rejected, if so.

    Raises:
        ImageError: The picture cannot be read.
        Overloaded, TooLate, ClientDisconnect: See ``run_in_thread``.
    """
    upload = unpack_plain_png(upload)
    if isinstance(upload, Pixels):
        return await services.small_pictures.submit(upload.brightness)
    content, max_pixels, media_type = upload.content, services.settings.max_pixels, upload.media_type
    if is_webp(content):  # Pillow allocates the pixels of WebP when it opens the file
        large, function = True, lambda: preprocess(content, max_pixels, media_type)
    else:
        if len(content) <= INLINE_BYTES:
            picture = open_image(content, max_pixels, media_type)
        else:
            open_picture = functools.partial(open_image, content, max_pixels, media_type)
            picture = await run_in_thread(request, services, open_picture, len(content), admitted=admitted)
        if picture.size == (SIDE, SIDE):
            return preprocess_picture(picture)
        large, function = picture.width * picture.height > LARGE_PIXELS, lambda: preprocess_picture(picture)
    return await run_in_thread(request, services, function, len(content), large=large, admitted=admitted)


async def run_network(
    request: Request, services: Services, model: LoadedModel, images: Images, *, network_only: bool = False
) -> Probabilities:
    """Compute the probabilities of images. If the client disconnects while they wait, they are not computed.

    Args:
        request: The request.
        services: The services of the app.
        model: The version to use.
        images: uint8 (n, 28, 28), at least one.
        network_only: See ``Batcher.submit``.

    Returns:
        float32 (n, 10), softmax probabilities.

    Raises:
        Overloaded: Too many images wait.
        TooLate: No image ran by the deadline.
        ClientDisconnect: The client closed the connection.
    """
    deadline = time.monotonic() + services.settings.deadline
    result = model.batcher.submit(images, deadline, network_only=network_only)
    return await (_unless_disconnected(request, result) if model.batcher.congested else result)


async def run_in_thread(
    request: Request,
    services: Services,
    function: Callable[[], T],
    size: int,
    *,
    large: bool = False,
    admitted: bool = False,
) -> T:
    """Run a function in the decode pool, as ``DecodePool.run`` does.

    Raises:
        Overloaded: Too many bytes wait.
        TooLate: The deadline passed while the call waited.
        ClientDisconnect: The client closed the connection while the call waited.
    """
    congested = services.decode_pool.congested
    result = services.decode_pool.run(function, size, large=large, admitted=admitted)
    return await (_unless_disconnected(request, result) if congested else result)


async def parse_body(request: Request, services: Services, body: bytes, parse: Callable[[bytes, str], T]) -> T:
    """Call ``parse`` with a body and its content type: on the event loop for a small body, else in a thread."""
    content_type = request.headers.get("content-type", "")
    if len(body) <= INLINE_BYTES:
        return parse(body, content_type)
    return await run_in_thread(request, services, lambda: parse(body, content_type), len(body))


async def _unless_disconnected(request: Request, awaitable: Awaitable[T]) -> T:
    """Return a result, or cancel it if the client disconnects. The body must have been read before.

    Raises:
        ClientDisconnect: The client closed the connection before the result was there.
    """
    result = asyncio.ensure_future(awaitable)
    disconnected = asyncio.create_task(_wait_for_disconnect(request))
    try:
        await asyncio.wait((result, disconnected), return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            raise ClientDisconnect
        return result.result()
    finally:
        result.cancel()
        disconnected.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Yielder:
    """Lets other tasks run every TURN_SECONDS while a batch is read, and stops if its client disconnects."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def __enter__(self) -> Self:
        self._disconnected = asyncio.create_task(_wait_for_disconnect(self._request))
        self._end = time.perf_counter() + TURN_SECONDS
        return self

    def __exit__(self, *error: object) -> None:
        self._disconnected.cancel()

    async def yield_if_due(self) -> None:
        """Let other tasks run if the time is over.

        Raises:
            ClientDisconnect: The client closed the connection.
        """
        if time.perf_counter() > self._end:
            await asyncio.sleep(0)
            if self._disconnected.done():
                raise ClientDisconnect
            self._end = time.perf_counter() + TURN_SECONDS


async def read_batch(
    request: Request, services: Services, uploads: list[Upload | DigitsError] | UInt8Image, yielder: Yielder
) -> tuple[UInt8Image, Outcomes]:
    """Preprocess the pictures of a batch.

    Small pictures are read on the event loop, with breaks for other tasks, and larger ones in a thread. A thread for
    all of them would hold the GIL and delay the loop by milliseconds.

    Returns:
        The images of the pictures that can be read, uint8 (n, 28, 28), and the outcomes of all pictures.
    """
    if isinstance(uploads, np.ndarray):
        return await _read_raw_batch(uploads, yielder)
    results: list[PreprocessedImage | DigitsError] = []
    for start in range(0, len(uploads), CHUNK_IMAGES):
        chunk = uploads[start : start + CHUNK_IMAGES]
        for index, upload in enumerate(chunk):
            if isinstance(upload, File):
                chunk[index] = unpack_plain_png(upload)
                await yielder.yield_if_due()
        pixels = [upload.brightness for upload in chunk if isinstance(upload, Pixels)]
        plain = iter(preprocess_mnist_like(stack(pixels)) if pixels else ())
        for upload in chunk:
            picture = next(plain) if isinstance(upload, Pixels) else None
            results.append(picture or await _read_or_error(request, services, upload))
            await yielder.yield_if_due()
    images = [result.image for result in results if isinstance(result, PreprocessedImage)]
    outcomes = [result.reason if isinstance(result, PreprocessedImage) else result for result in results]
    return stack(images) if images else np.empty((0, SIDE, SIDE), np.uint8), outcomes


async def _read_raw_batch(pixels: UInt8Image, yielder: Yielder) -> tuple[UInt8Image, Outcomes]:
    """Preprocess a batch that came as plain bytes, uint8 (n, 28, 28). Digits placed as in MNIST are not copied."""
    images = pixels
    outcomes: Outcomes = [None] * len(pixels)
    for start in range(0, len(pixels), CHUNK_IMAGES):
        await yielder.yield_if_due()
        for index in start + np.flatnonzero(~is_mnist_like(pixels[start : start + CHUNK_IMAGES])):
            if images is pixels:
                images = pixels.copy()
            images[index], outcomes[index], _ = preprocess_pixels(pixels[index])
            await yielder.yield_if_due()
    return images, outcomes


async def _read_or_error(
    request: Request, services: Services, upload: Upload | DigitsError
) -> PreprocessedImage | DigitsError:
    """Read one picture of a batch, and return the error if it cannot be read."""
    if isinstance(upload, DigitsError):
        return upload
    try:
        return await read_picture(request, services, upload, admitted=True)
    except ImageError as error:
        return error


def _entries(
    outcomes: Outcomes, rows: Probabilities, model: LoadedModel, services: Services, strict: bool
) -> tuple[list[dict[str, Any]], int]:
    """Return the reply's entries for a part of a batch.

    Args:
        outcomes: The outcomes of these pictures.
        rows: float32 (n, 10), the probabilities of those that could be read, and of later pictures.
        model: The version that computed them.
        services: The services of the app.
        strict: Whether an answer that is not accepted becomes an error.

    Returns:
        One entry for each outcome, and the number of pictures that could be read.
    """
    rejections = [outcome for outcome in outcomes if not isinstance(outcome, DigitsError)]
    rows = rows[: len(rejections)]
    reasons = decide(rejections, rows, model, services.metrics)
    entries = readings(rows, reasons)
    if strict:
        answers = zip(entries, reasons, rows, strict=True)
        entries = [failure(Rejected(reason, row)) if reason else entry for entry, reason, row in answers]
    if len(rejections) < len(outcomes):
        remaining = iter(entries)
        entries = [failure(outcome) if isinstance(outcome, DigitsError) else next(remaining) for outcome in outcomes]
    return entries, len(rejections)


# Plain Starlette routes: FastAPI's dependencies and validation would take as long as reading a digit. ``api.openapi``
# documents them.
routes = [Route("/predict", predict, methods=["POST"]), Route("/predict/batch", predict_batch, methods=["POST"])]
