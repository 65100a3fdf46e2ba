"""The routes of /feedback: corrections of the model's answers."""

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
from app.api.predictions import parse_body, read_picture, run_network
from app.api.retraining import to_iso_time
from app.api.uploads import File, parse_labelled
from app.errors import MalformedRequest, Overloaded
from app.inference.rejection import Rejected, RejectionReason
from app.retraining.feedback import Correction, Example, describe, png
from app.services import ModelDep, ServicesDep

router = APIRouter(tags=["feedback"])

MAX_ID = 2**31 - 1

# A client may send any text as a picture's type. Only a valid media type is stored.
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)


@router.post(
    "/feedback",
    status_code=201,
    summary="Send a picture with its true digit",
    response_model=schemas.Correction,
    responses=examples.responses(
        schemas.Correction,
        "The image was known; it has the new label now",
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
    """Stores a picture with its true digit, for the next retraining to learn from.

    Send both as the form fields `file` and `label`, or as `{"image": "…", "label": 7}` or
    `{"pixels": [[…], …], "label": 7}`. One image in five is held out: it is measured on, never learned from. The same
    image is stored once; a new label replaces the old one, which stays in the history.
    """
    body = await services.bodies.read(request, services.settings.max_body)
    upload, label = await parse_body(request, services, body, parse_labelled)
    picture = await read_picture(request, services, upload)
    if picture.reason is RejectionReason.BLANK:  # nothing to learn from
        raise Rejected(RejectionReason.BLANK)
    probabilities = (await run_network(request, services, model, picture.image[None]))[0]
    example = Example(
        seen=picture.image,
        sent=upload.content if isinstance(upload, File) else upload.brightness.tobytes(),
        sent_type=_valid_media_type(upload.media_type) if isinstance(upload, File) else "pixels",
        prediction=int(probabilities.argmax()),
        probabilities=[float(p) for p in probabilities],
        version=model.manifest.version,
    )
    correction, is_new = await run_in_threadpool(services.feedback.keep, example, label)
    response.status_code = 201 if is_new else 200
    return _correction_body(correction)


@router.get(
    "/feedback",
    summary="List the corrections",
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
    """Corrections, oldest first, each with its preprocessed image. With `before` the newest come first.

    `next` is the value of `after`, or of `before`, for the next page. With `before`, `after` is ignored.
    """
    wanted = limit + 1  # one more, to know whether there is a next page
    found = services.feedback.page(wanted, after) if before is None else services.feedback.newest(wanted, before)
    page = found[:limit]
    return {
        "feedback": [_correction_body(correction) for correction in page],
        "next": page[-1].id if len(found) > limit else None,
        "total": services.feedback.count(),
    }


@router.delete(
    "/feedback/{correction}",
    status_code=204,
    summary="Take a correction back",
    responses=examples.failures(401, examples.NO_FEEDBACK, 422, examples.NO_DATABASE),
    dependencies=[ADMIN],
)
def remove_feedback(correction: Annotated[int, Path(ge=1, le=MAX_ID)], services: ServicesDep) -> None:
    """Deletes its picture and labels. A running retraining has its own copy; versions keep what they have learned."""
    services.feedback.remove(correction)


@router.get(
    "/feedback/export",
    summary="Download all corrections as one archive",
    response_class=StreamingResponse,
    responses=examples.ARCHIVE | examples.failures(400, 401, examples.NO_DATABASE, Overloaded()),
    dependencies=[ADMIN],
)
async def export_feedback(request: Request, services: ServicesDep) -> Response:
    """A ZIP file with `feedback.jsonl`, and each image preprocessed and as it was sent.

    `python -m training fit --feedback` reads it. One archive is sent at a time.
    """
    if request.scope["http_version"] == "1.0":  # HTTP/1.0 has no chunked encoding, and the size is not known before
        raise MalformedRequest("the archive needs HTTP/1.1, since it is streamed; send the request with HTTP/1.1")
    headers = {"Content-Disposition": 'attachment; filename="feedback.zip"'}
    if request.state.head:  # otherwise the archive would be made for nothing
        return Response(headers=headers, media_type="application/zip")
    if services.export_lock.locked():
        raise Overloaded()
    pieces = services.feedback.archive()
    first = await run_in_threadpool(next, pieces)  # raises DatabaseUnavailable before the reply starts
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


def _valid_media_type(media_type: str | None) -> str:
    return media_type if media_type and _MEDIA_TYPE.fullmatch(media_type) else ""


def _correction_body(correction: Correction) -> dict[str, Any]:
    body = describe(correction)
    labels = [label | {"created": to_iso_time(label["created"])} for label in body["labels"]]
    seen = "data:image/png;base64," + base64.b64encode(png(correction.example.seen)).decode()
    return body | {"created": to_iso_time(correction.created), "labels": labels, "seen": seen}
