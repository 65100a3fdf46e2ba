"""POST /predict and POST /predict/batch."""

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
from app.api.uploads import File, Pixels, Upload, parse_many, parse_one, unpacked
from app.errors import DigitsError, ImageError
from app.inference.attribution import attribute, occlude
from app.inference.engine import Images, Probabilities
from app.inference.manager import LoadedModel
from app.inference.rejection import Rejected, RejectionReason
from app.services import Services, model_of, services_of
from app.vision.decode import is_webp, open_image
from app.vision.digit import SIDE
from app.vision.ink import UInt8Image
from app.vision.read import PreprocessedImage, is_plain, read, read_grey, read_image, read_plain, stack

T = TypeVar("T")

# Of each picture of a batch why it is rejected before the network is asked, if it is; where it cannot be read, why.
Seen = list[RejectionReason | DigitsError | None]

# Bodies and files up to this size are parsed on the event loop: that takes less time than to hand them to a thread.
INLINE_BYTES = 4096

# Of a batch, images of 28x28 that are looked at together, in less than a millisecond on a slow machine.
CHUNK_IMAGES = 64

# Time for which the pictures of a batch are read before the event loop goes round: ten pictures of MNIST's kind.
TURN_SECONDS = 0.0004

# Entries of a batch's reply that are written before the event loop goes round.
CHUNK_ENTRIES = 50


async def predict(request: Request) -> Response:
    """Send one picture: as the form field `file`, as the raw bytes with an image content type, in base64 as
    `{"image": "…"}`, or as 28 rows of 28 numbers, 0 for the background and 255 for the foreground:
    `{"pixels": [[…], …]}`, or 784 bytes of `application/octet-stream`.

    PNG, JPEG, WebP, BMP, GIF (first frame) and TIFF (first page) of any size and colour are read. A 28x28 grey
    image on a dark background, placed as in MNIST, goes to the network unchanged.

    Every picture that can be opened gets its digit and probabilities. Where `accepted` is false, do not rely on them:
    `reason` says whether the picture is blank, shows no digit or several, or leaves the network unsure. With
    `?strict=true` such a picture is an error.

    With `?explain=true` the reply has an `explanation`: what the network sees, where on the picture that is, and which
    pixels spoke for the answer. For these, one patch of 4x4 pixels after the other is covered, and a pixel counts for
    as much as covering it makes the answer less probable.
    """
    services, model = services_of(request.app), model_of(request)
    model.batcher.admit()  # what is refused should cost little
    strict, explain = flag(request, "strict"), flag(request, "explain")
    body = await services.bodies.read(request, services.settings.max_body)
    picture = await read_picture(request, services, await parsed(request, services, body, parse_one))
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
    """Send many pictures: as several form fields `file`, in base64 as `{"images": ["…", …]}`, as numbers,
    `{"pixels": [[[…], …], …]}`, or as `application/octet-stream`, 784 bytes an image: 28 rows of 28, 0 for the
    background and 255 for the foreground. An image that cannot be read becomes an entry with its `error`; the others
    are answered all the same. With `?strict=true` an answer that is not accepted is an error, too.
    """
    services, model = services_of(request.app), model_of(request)
    model.batcher.admit()
    strict = flag(request, "strict")
    body = await services.bodies.read(request, services.settings.max_body)

    def parse(body: bytes, content_type: str) -> list[Upload | DigitsError] | UInt8Image:
        return parse_many(body, content_type, services.settings.max_batch)

    uploads = await parsed(request, services, body, parse)
    with _Pauses(request) as pauses:
        images, seen = await _read_many(request, services, uploads, pauses)
    rows = await run_network(request, services, model, images) if len(images) else np.empty((0, 10), np.float32)
    pieces, done = [], 0
    for start in range(0, len(seen), CHUNK_ENTRIES):
        entries, answered = _entries(seen[start : start + CHUNK_ENTRIES], rows[done:], model, services, strict)
        pieces.append(to_json(entries)[1:-1])
        done += answered
        await asyncio.sleep(0)  # a lone digit does not wait until all have been written
    return Response(
        b'{"predictions":[%b],"model":%b}' % (b",".join(pieces), to_json(model_name(model))), media_type=JSON
    )


async def read_picture(
    request: Request, services: Services, upload: Upload, *, begun: bool = False
) -> PreprocessedImage:
    """What one upload shows: on the event loop where it is of 28x28, else in a thread.

    Args:
        request: Listened to where the pictures of others come first.
        services: With the threads.
        upload: The picture.
        begun: See ``DecodePool``.

    Raises:
        ImageError: It cannot be read.
        Overloaded, TooLate, ClientDisconnect: See ``DecodePool``.
    """
    upload = unpacked(upload)
    if isinstance(upload, Pixels):
        return await services.small_pictures.submit(upload.brightness)
    content, max_pixels, media_type = upload.content, services.settings.max_pixels, upload.media_type
    if is_webp(content):  # Pillow takes memory for its pixels when it opens one
        large, function = True, lambda: read(content, max_pixels, media_type)
    else:
        if len(content) <= INLINE_BYTES:
            picture = open_image(content, max_pixels, media_type)
        else:
            open_it = functools.partial(open_image, content, max_pixels, media_type)
            picture = await in_thread(request, services, open_it, len(content), begun=begun)
        if picture.size == (SIDE, SIDE):
            return read_image(picture)
        large, function = picture.width * picture.height > LARGE_PIXELS, lambda: read_image(picture)
    return await in_thread(request, services, function, len(content), large=large, begun=begun)


async def run_network(
    request: Request, services: Services, model: LoadedModel, images: Images, *, network_only: bool = False
) -> Probabilities:
    """The probabilities of at least one image: uint8 (n, 28, 28) to float32 (n, 10).

    Where it will take a while, nothing is computed for a client that hangs up meanwhile.

    Args:
        request: Listened to while it waits.
        services: With the deadline.
        model: The version that answers.
        images: What it is asked.
        network_only: See ``Batcher.submit``.

    Raises:
        Overloaded, TooLate, ClientDisconnect: See ``Batcher``.
    """
    deadline = time.monotonic() + services.settings.deadline
    result = model.batcher.submit(images, deadline, network_only=network_only)
    return await (_unless_disconnected(request, result) if model.batcher.congested else result)


async def in_thread(
    request: Request,
    services: Services,
    function: Callable[[], T],
    size: int,
    *,
    large: bool = False,
    begun: bool = False,
) -> T:
    """The function's result, from one of the decoding threads. See ``DecodePool.run``; raises ClientDisconnect, too."""
    congested = services.decode_pool.congested
    result = services.decode_pool.run(function, size, large=large, begun=begun)
    return await (_unless_disconnected(request, result) if congested else result)


async def parsed(request: Request, services: Services, body: bytes, parse: Callable[[bytes, str], T]) -> T:
    """What a body carries."""
    content_type = request.headers.get("content-type", "")
    if len(body) <= INLINE_BYTES:
        return parse(body, content_type)
    return await in_thread(request, services, lambda: parse(body, content_type), len(body))


async def _unless_disconnected(request: Request, awaitable: Awaitable[T]) -> T:
    """The result. Raises ClientDisconnect, and cancels it, when the client hangs up before. The body must be read."""
    result = asyncio.ensure_future(awaitable)
    disconnected = asyncio.create_task(_disconnect(request))
    try:
        await asyncio.wait((result, disconnected), return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            raise ClientDisconnect
        return result.result()
    finally:
        result.cancel()
        disconnected.cancel()


async def _disconnect(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Pauses:
    """Lets the event loop go round every now and then while a batch is read; no longer than its client waits."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def __enter__(self) -> Self:
        self._disconnected = asyncio.create_task(_disconnect(self._request))
        self._end = time.perf_counter() + TURN_SECONDS
        return self

    def __exit__(self, *error: object) -> None:
        self._disconnected.cancel()

    async def where_due(self) -> None:
        """Raises ClientDisconnect."""
        if time.perf_counter() > self._end:
            await asyncio.sleep(0)
            if self._disconnected.done():
                raise ClientDisconnect
            self._end = time.perf_counter() + TURN_SECONDS


async def _read_many(
    request: Request, services: Services, uploads: list[Upload | DigitsError] | UInt8Image, pauses: _Pauses
) -> tuple[UInt8Image, Seen]:
    """What the network reads of those that can be read, uint8 (n, 28, 28), and what can be seen on each.

    Small pictures are read on the event loop, a turn at a time, and larger ones in a thread. A thread for all would
    keep the interpreter from the loop for milliseconds.
    """
    if isinstance(uploads, np.ndarray):
        return await _read_levels(uploads, pauses)
    found: list[PreprocessedImage | DigitsError] = []
    for start in range(0, len(uploads), CHUNK_IMAGES):
        some = uploads[start : start + CHUNK_IMAGES]
        for place, upload in enumerate(some):
            if isinstance(upload, File):
                some[place] = unpacked(upload)
                await pauses.where_due()
        pixels = [upload.brightness for upload in some if isinstance(upload, Pixels)]
        plain = iter(read_plain(stack(pixels)) if pixels else ())
        for upload in some:
            picture = next(plain) if isinstance(upload, Pixels) else None
            found.append(picture or await _read_next(request, services, upload))
            await pauses.where_due()
    images = [one.image for one in found if isinstance(one, PreprocessedImage)]
    seen = [one.reason if isinstance(one, PreprocessedImage) else one for one in found]
    return stack(images) if images else np.empty((0, SIDE, SIDE), np.uint8), seen


async def _read_levels(levels: UInt8Image, pauses: _Pauses) -> tuple[UInt8Image, Seen]:
    """Of (n, 28, 28). Where all lie as MNIST's do, nothing is copied."""
    images = levels
    seen: Seen = [None] * len(levels)
    for start in range(0, len(levels), CHUNK_IMAGES):
        await pauses.where_due()
        for place in start + np.flatnonzero(~is_plain(levels[start : start + CHUNK_IMAGES])):
            if images is levels:
                images = levels.copy()
            images[place], seen[place] = read_grey(levels[place])
            await pauses.where_due()
    return images, seen


async def _read_next(
    request: Request, services: Services, upload: Upload | DigitsError
) -> PreprocessedImage | DigitsError:
    """One of many. Raises what ``in_thread`` does."""
    if isinstance(upload, DigitsError):
        return upload
    try:
        return await read_picture(request, services, upload, begun=True)
    except ImageError as error:
        return error


def _entries(
    some: Seen, rows: Probabilities, model: LoadedModel, services: Services, strict: bool
) -> tuple[list[dict[str, Any]], int]:
    """What the reply says of some of many, and how many of these could be read.

    Args:
        some: What can be seen on each.
        rows: The probabilities of those that could be read, and of what follows.
        model: The version that gave them.
        services: With the metrics.
        strict: Whether an answer that is not accepted is an error.
    """
    seen = [one for one in some if not isinstance(one, DigitsError)]
    rows = rows[: len(seen)]
    reasons = decide(seen, rows, model, services.metrics)
    said = readings(rows, reasons)
    if strict:
        answered = zip(said, reasons, rows, strict=True)
        said = [failure(Rejected(reason, row)) if reason else one for one, reason, row in answered]
    if len(seen) < len(some):
        following = iter(said)
        said = [failure(one) if isinstance(one, DigitsError) else next(following) for one in some]
    return said, len(seen)


# Starlette's own routes: FastAPI's way through dependencies and validation takes as long as reading a digit.
# ``api.openapi`` documents them.
routes = [Route("/predict", predict, methods=["POST"]), Route("/predict/batch", predict_batch, methods=["POST"])]
