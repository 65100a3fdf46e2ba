"""POST /predict and POST /predict/batch."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from app.errors import DigitsError, ImageError
from app.http import declining
from app.http.express import INLINE_BYTES
from app.http.replies import JSON, failure, judge, model, prediction, readings, to_json
from app.http.state import State, services_of, snapshot_of
from app.http.uploads import File, Pixels, Upload, parse_many, parse_one, unpacked
from app.inference.engine import Probabilities
from app.inference.live import Live
from app.vision.decode import open_image
from app.vision.digit import SIDE
from app.vision.ink import Levels
from app.vision.read import Doubt, Sight, is_plain, read, read_grey, read_image, read_plain, stack

T = TypeVar("T")

# Of each picture of a batch what speaks against it at sight, if anything does; where it cannot be read, why.
Seen = list[Doubt | DigitsError | None]

# Of a batch, images of 28x28 that are looked at together, in less than a millisecond on a slow machine.
TOGETHER = 128

# Seconds for which a batch's pictures are read before the event loop goes round: ten pictures of MNIST's kind.
TURN = 0.0004

# Entries of a batch's reply that are written at a time, in a twentieth of a millisecond on a Zen 5: a thousand would
# hold all others up for a whole one.
SLICE = 50


async def predict(request: Request) -> Response:
    """Send one picture: as the form field `file`, as the raw bytes with an image content type, in base64 as
    `{"image": "…"}`, or as 28 rows of 28 numbers, 0 for the ground and 255 for ink: `{"pixels": [[…], …]}`, or 784
    bytes of `application/octet-stream`.

    PNG, JPEG, WebP, BMP, GIF (first frame) and TIFF (first page) of any size and colour are read. A 28x28 grey
    image on a dark ground, placed as in MNIST, goes to the network unchanged.

    Every picture that can be opened gets its digit and probabilities. Where `accepted` is false, do not rely on them:
    `reason` says whether the picture is blank, shows no digit or several, or leaves the network unsure. With
    `?strict=true` such a picture is an error.
    """
    services, live = services_of(request), snapshot_of(request)
    live.batcher.admit()  # what is refused should cost little
    strict = declining.is_strict(request)
    body = await services["bodies"].read(request, services["settings"].max_body)
    sight = await _read_one(request, body)
    rows = await answer(request, live, sight.image[None])
    (reason,) = reasons = judge([sight.doubt], rows, live, services["metrics"])
    if strict and reason:
        raise declining.error(reason, rows[0])
    (reading,) = readings(rows, reasons)
    return Response(prediction(live, reading), media_type=JSON)


async def predict_batch(request: Request) -> Response:
    """Send many pictures: as several form fields `file`, in base64 as `{"images": ["…", …]}`, as numbers,
    `{"pixels": [[[…], …], …]}`, or as `application/octet-stream`, 784 bytes an image: 28 rows of 28, 0 for the ground
    and 255 for ink. An image that cannot be read becomes an entry with its `error`; the others are answered all the
    same. With `?strict=true` an answer that is not accepted is an error, too.
    """
    services, live = services_of(request), snapshot_of(request)
    live.batcher.admit()
    strict = declining.is_strict(request)
    body = await services["bodies"].read(request, services["settings"].max_body)
    images, seen = await _read_many(request, body)
    rows = await answer(request, live, images) if len(images) else np.empty((0, 10), np.float32)
    pieces, done = [], 0
    for start in range(0, len(seen), SLICE):
        entries, answered = _entries(seen[start : start + SLICE], rows[done:], live, services, strict)
        pieces.append(to_json(entries)[1:-1])
        done += answered
        await asyncio.sleep(0)  # a lone digit does not wait until all have been written
    return Response(b'{"predictions":[%b],"model":%b}' % (b",".join(pieces), to_json(model(live))), media_type=JSON)


def _entries(
    some: Seen, rows: Probabilities, live: Live, services: State, strict: bool
) -> tuple[list[dict[str, Any]], int]:
    """What the reply says of some of many, and how many of these could be read. rows: the probabilities of those and of
    what follows.
    """
    seen = [one for one in some if not isinstance(one, DigitsError)]
    rows = rows[: len(seen)]
    reasons = judge(seen, rows, live, services["metrics"])
    said = readings(rows, reasons)
    if strict:
        answered = zip(said, reasons, rows, strict=True)
        said = [failure(declining.error(reason, row)) if reason else one for one, reason, row in answered]
    if len(seen) < len(some):
        following = iter(said)
        said = [failure(one) if isinstance(one, DigitsError) else next(following) for one in some]
    return said, len(seen)


async def answer(request: Request, live: Live, images: NDArray[np.uint8]) -> Probabilities:
    """The network's answer: (n, 28, 28) to (n, 10). Raises Overloaded, TooLate, ClientDisconnect.

    Where it will take a while, nothing is computed for a client that hangs up meanwhile.
    """
    began = request.scope["state"].get("began", time.monotonic())
    deadline = began + services_of(request)["settings"].deadline
    if len(images) == 1 and (found := await live.batcher.at_once(images[0], deadline)) is not None:
        return found[None]
    awaited = live.batcher.submit(images, deadline)
    return await (unless_left(request, awaited) if live.batcher.congested else awaited)


async def unless_left(request: Request, awaited: asyncio.Future[T]) -> T:
    """The result. Raises ClientDisconnect, and cancels it, when the client hangs up before; the body must be read."""
    left = asyncio.create_task(_hang_up(request))
    try:
        await asyncio.wait((awaited, left), return_when=asyncio.FIRST_COMPLETED)
        if not awaited.done():
            raise ClientDisconnect
        return awaited.result()
    finally:
        awaited.cancel()
        left.cancel()


async def _hang_up(request: Request) -> None:
    """Returns when the client has closed the connection; to be called after its body was read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def content_type(request: Request) -> str:
    """The body's type with its parameters; empty where none is named."""
    return request.headers.get("content-type", "")


async def _read_one(request: Request, body: bytes) -> Sight:
    max_pixels, media_type = services_of(request)["settings"].max_pixels, content_type(request)
    if len(body) > INLINE_BYTES:
        return await in_thread(request, lambda: read_upload(parse_one(body, media_type), max_pixels), len(body))
    return await _read_inline(request, parse_one(body, media_type))


async def _read_inline(request: Request, upload: Upload, *, begun: bool = False) -> Sight:
    """What can be seen on an upload of few bytes: on the event loop, but for pictures that are larger than MNIST's.

    Raises an ImageError, and what ``in_thread`` does.
    """
    upload = unpacked(upload)
    if isinstance(upload, Pixels):
        return read_grey(upload.brightness)
    image = open_image(upload.content, services_of(request)["settings"].max_pixels, upload.media_type)
    if image.size != (SIDE, SIDE):
        return await in_thread(request, lambda: read_image(image), len(upload.content), begun=begun)
    return read_image(image)


async def _read_many(request: Request, body: bytes) -> tuple[Levels, Seen]:
    """What the network reads of those that can be read, uint8 (n, 28, 28), and what can be seen on each: small pictures
    on the event loop, a turn at a time, and larger ones in a thread. A thread for all would keep the interpreter, and
    the core, from the loop for milliseconds.
    """
    settings, media_type = services_of(request)["settings"], content_type(request)
    uploads = await in_thread(request, lambda: parse_many(body, media_type, settings.max_batch), len(body))
    with _Pauses(request) as pauses:
        if isinstance(uploads, np.ndarray):
            return await _read_levels(uploads, pauses)
        found = await _read_uploads(request, uploads, pauses)
    images = [one.image for one in found if isinstance(one, Sight)]
    seen = [one.doubt if isinstance(one, Sight) else one for one in found]
    return stack(images) if images else np.empty((0, SIDE, SIDE), np.uint8), seen


class _Pauses:
    """Lets the event loop go round every now and then while a batch is read; no longer than its client waits."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def __enter__(self) -> Self:
        self._left = asyncio.create_task(_hang_up(self._request))
        self._end = time.perf_counter() + TURN
        return self

    def __exit__(self, *error: object) -> None:
        self._left.cancel()

    async def where_due(self) -> None:
        """Raises ClientDisconnect."""
        if time.perf_counter() > self._end:
            await asyncio.sleep(0)
            if self._left.done():
                raise ClientDisconnect
            self._end = time.perf_counter() + TURN


async def _read_levels(levels: Levels, pauses: _Pauses) -> tuple[Levels, Seen]:
    """Of (n, 28, 28). Where all lie as MNIST's do, nothing is copied."""
    images = levels
    seen: Seen = [None] * len(levels)
    for start in range(0, len(levels), TOGETHER):
        await pauses.where_due()
        for place in start + np.flatnonzero(~is_plain(levels[start : start + TOGETHER])):
            if images is levels:
                images = levels.copy()
            images[place], seen[place] = read_grey(levels[place])
            await pauses.where_due()
    return images, seen


async def _read_uploads(
    request: Request, uploads: list[Upload | DigitsError], pauses: _Pauses
) -> list[Sight | DigitsError]:
    found: list[Sight | DigitsError] = []
    for start in range(0, len(uploads), TOGETHER):
        some = uploads[start : start + TOGETHER]
        for place, upload in enumerate(some):
            if isinstance(upload, File):
                some[place] = unpacked(upload)
                await pauses.where_due()
        pixels = [upload.brightness for upload in some if isinstance(upload, Pixels)]
        plain = iter(read_plain(stack(pixels)) if pixels else ())
        for upload in some:
            sight = next(plain) if isinstance(upload, Pixels) else None
            found.append(sight or await _read_next(request, upload))
            await pauses.where_due()
    return found


async def _read_next(request: Request, upload: Upload | DigitsError) -> Sight | DigitsError:
    """One of many. Raises what ``in_thread`` does."""
    if isinstance(upload, DigitsError):
        return upload
    try:
        if isinstance(upload, File) and len(upload.content) > INLINE_BYTES:
            max_pixels = services_of(request)["settings"].max_pixels
            return await in_thread(request, lambda: read_upload(upload, max_pixels), len(upload.content), begun=True)
        return await _read_inline(request, upload, begun=True)
    except ImageError as error:
        return error


async def in_thread(request: Request, function: Callable[[], T], size: int, *, begun: bool = False) -> T:
    """The function's result, from one of the decoding threads; size: of what it works on, in bytes. begun: see
    ``Decoders``. Raises Overloaded, TooLate, ClientDisconnect.
    """
    decoders = services_of(request)["decoders"]
    awaited = decoders.submit(function, size, begun=begun)
    return await (unless_left(request, awaited) if decoders.congested else awaited)


def read_upload(upload: Upload, max_pixels: int) -> Sight:
    """What can be seen on an upload. Raises an ImageError."""
    if isinstance(upload, File):
        return read(upload.content, max_pixels, upload.media_type)
    return read_grey(upload.brightness)


ENDPOINTS = {("POST", "/predict"): predict, ("POST", "/predict/batch"): predict_batch}
