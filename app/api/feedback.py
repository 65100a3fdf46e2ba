"""POST /feedback, and what is kept of it."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import StreamingResponse

from app.api import examples, schemas
from app.api.auth import ADMIN
from app.api.predictions import parsed, read_picture, run_network
from app.api.retraining import shown_time
from app.api.uploads import File, parse_labelled
from app.errors import MalformedRequest, Overloaded
from app.inference.rejection import Rejected, RejectionReason
from app.retraining.feedback import Correction, Example, describe, png
from app.services import ModelDep, ServicesDep

router = APIRouter(tags=["feedback"])

MAX_ID = 2**31 - 1

# A sender may call a picture whatever it likes, at any length; only what is a media type is kept.
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)


@router.post(
    "/feedback",
    status_code=201,
    summary="Say what a picture really shows",
    response_model=schemas.Correction,
    responses=examples.responses(
        schemas.Correction,
        "The image was known; its label is the new one",
        401,
        408,
        413,
        415,
        422,
        examples.NO_DATABASE,
        *examples.BUSY,
    ),
    openapi_extra=examples.FEEDBACK,
    dependencies=[ADMIN],
)
async def give_feedback(request: Request, response: Response, services: ServicesDep, model: ModelDep) -> Any:
    """Send a picture and its true digit: as the form fields `file` and `label`, or as `{"image": "…", "label": 7}` or
    `{"pixels": [[…], …], "label": 7}`. It is kept, and the next retraining learns from it; one image in five is held
    back to measure on. The same image again is not kept twice; another label replaces the first, which stays in its
    history.
    """
    body = await services.bodies.read(request, services.settings.max_body)
    upload, label = await parsed(request, services, body, parse_labelled)
    picture = await read_picture(request, services, upload)
    if picture.reason is RejectionReason.BLANK:  # there is nothing to learn from it
        raise Rejected(RejectionReason.BLANK)
    probabilities = (await run_network(request, services, model, picture.image[None]))[0]
    example = Example(
        seen=picture.image,
        sent=upload.content if isinstance(upload, File) else upload.brightness.tobytes(),
        sent_type=_plain(upload.media_type) if isinstance(upload, File) else "pixels",
        prediction=int(probabilities.argmax()),
        probabilities=[float(p) for p in probabilities],
        version=model.manifest.version,
    )
    kept, new = await run_in_threadpool(services.feedback.keep, example, label)
    response.status_code = 201 if new else 200
    return _shown(kept)


@router.get(
    "/feedback",
    summary="Page through what was sent",
    response_model=schemas.Corrections,
    responses=examples.failures(401, 422, examples.NO_DATABASE),
    dependencies=[ADMIN],
)
def list_feedback(
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    after: Annotated[int, Query(ge=0, le=MAX_ID, description="Only corrections with higher numbers.")] = 0,
    before: Annotated[
        int | None, Query(ge=1, le=MAX_ID, description="Only corrections with lower numbers, newest first.")
    ] = None,
) -> Any:
    """Corrections in the order in which they came, each with the image as the model saw it. `next` is the `after` of
    the following page. With `before` the newest come first, and `next` is the `before` of the following page; `after`
    does not count then.
    """
    kept = services.feedback
    found = kept.page(limit + 1, after) if before is None else kept.newest(limit + 1, before)  # one more, to see
    page = found[:limit]  # whether there is one
    return {
        "feedback": [_shown(one) for one in page],
        "next": page[-1].id if len(found) > limit else None,
        "total": kept.count(),
    }


@router.delete(
    "/feedback/{correction}",
    status_code=204,
    summary="Take a correction back",
    responses=examples.failures(401, examples.NO_FEEDBACK, 422, examples.NO_DATABASE),
    dependencies=[ADMIN],
)
def remove_feedback(correction: Annotated[int, Path(ge=1, le=MAX_ID)], services: ServicesDep) -> None:
    """The picture, its labels and what the model said of it are removed. A retraining that runs has its own copy; what
    a version has learned stays in that version.
    """
    services.feedback.remove(correction)


@router.get(
    "/feedback/export",
    summary="Everything as one archive",
    response_class=StreamingResponse,
    responses=examples.ARCHIVE | examples.failures(400, 401, examples.NO_DATABASE, Overloaded()),
    dependencies=[ADMIN],
)
async def export_feedback(request: Request, services: ServicesDep) -> Response:
    """A ZIP file: `feedback.jsonl`, and each image as the model saw it and as it was sent. `python -m training fit
    --feedback` reads it. One archive is sent at a time.
    """
    if request.scope["http_version"] == "1.0":  # it has no chunked coding, and the size is not known
        raise MalformedRequest("the archive is streamed, which HTTP/1.0 cannot; ask for it with HTTP/1.1")
    headers = {"Content-Disposition": 'attachment; filename="feedback.zip"'}
    if request.state.head:  # all of it would be made, and thrown away
        return Response(headers=headers, media_type="application/zip")
    if services.export_lock.locked():
        raise Overloaded()
    pieces = services.feedback.archive()
    first = await run_in_threadpool(next, pieces)  # a database that is away is told at once
    return StreamingResponse(
        _archive(first, pieces, services.export_lock),
        media_type="application/zip",
        headers=headers,
    )


async def _archive(first: bytes, pieces: Iterator[bytes], lock: asyncio.Lock) -> AsyncIterator[bytes]:
    async with lock:
        yield first
        async for piece in iterate_in_threadpool(pieces):
            yield piece


def _plain(media_type: str | None) -> str:
    return media_type if media_type and _MEDIA_TYPE.fullmatch(media_type) else ""


def _shown(kept: Correction) -> dict[str, Any]:
    told = describe(kept)
    history = [{"label": given["label"], "created": shown_time(given["created"])} for given in told["labels"]]
    seen = "data:image/png;base64," + base64.b64encode(png(kept.example.seen)).decode()
    return told | {"created": shown_time(kept.created), "labels": history, "seen": seen}
