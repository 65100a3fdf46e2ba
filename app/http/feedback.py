"""POST /feedback, and what was sent there."""

import base64
import re
import tempfile
from collections.abc import Iterator
from typing import IO, Annotated, Any

from fastapi import APIRouter, Query, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse

from app.errors import BlankImage
from app.http import examples, schemas
from app.http.admin import ADMIN
from app.http.dependencies import Services, Snapshot
from app.http.predictions import answer, content_type, in_thread, read_upload
from app.http.retraining import shown_time
from app.http.uploads import File, parse_labelled
from app.retraining.feedback import Correction, Example, describe, png
from app.vision.digit import BLANK

router = APIRouter(tags=["feedback"])

_CHUNK = 64 * 1024

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
async def give_feedback(request: Request, response: Response, services: Services, live: Snapshot) -> Any:
    """Send a picture and its true digit: as the form fields `file` and `label`, or as `{"image": "…", "label": 7}` or
    `{"pixels": [[…], …], "label": 7}`. It is kept, and the next retraining learns from it; one image in five is held
    back to measure on. The same image again is not kept twice; another label replaces the first, which stays in its
    history.
    """
    body = await services["bodies"].read(request, services["settings"].max_body)
    upload, label = parse_labelled(body, content_type(request))
    sight = await in_thread(request, lambda: read_upload(upload, services["settings"].max_pixels), len(body))
    if sight.doubt == "blank":  # there is nothing to learn from it
        raise BlankImage(BLANK)
    probabilities = (await answer(request, live, sight.image[None]))[0]
    example = Example(
        seen=sight.image,
        sent=upload.content if isinstance(upload, File) else upload.brightness.tobytes(),
        sent_type=_plain(upload.media_type) if isinstance(upload, File) else "pixels",
        prediction=int(probabilities.argmax()),
        probabilities=[float(p) for p in probabilities],
        version=live.card.version,
    )
    kept, new = await run_in_threadpool(services["feedback"].keep, example, label)
    response.status_code = 201 if new else 200
    return _shown(kept)


@router.get(
    "/feedback",
    summary="Page through what was sent",
    response_model=schemas.Corrections,
    responses=examples.failures(422, examples.NO_DATABASE),
)
def list_feedback(
    services: Services,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="Only corrections with higher numbers.")] = 0,
) -> Any:
    """Corrections in the order in which they came, each with the image as the model saw it. `next` is the `after` of
    the following page.
    """
    found = services["feedback"].page(limit + 1, after)  # one more, to see whether there is one
    page = found[:limit]
    return {"feedback": [_shown(kept) for kept in page], "next": page[-1].id if len(found) > limit else None}


@router.get(
    "/feedback/export",
    summary="Everything as one archive",
    response_class=StreamingResponse,
    responses=examples.ARCHIVE | examples.failures(examples.NO_DATABASE),
)
def export_feedback(services: Services) -> StreamingResponse:
    """A ZIP file: `feedback.jsonl`, and each image as the model saw it and as it was sent. `python -m training fit
    --feedback` reads it.
    """
    folder = services["settings"].state  # a container's /tmp is memory
    folder.mkdir(0o700, parents=True, exist_ok=True)
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by what streams it
    try:
        services["feedback"].write_archive(file)
    except BaseException:
        file.close()
        raise
    size = file.tell()
    file.seek(0)
    headers = {"Content-Disposition": 'attachment; filename="feedback.zip"', "Content-Length": str(size)}
    return StreamingResponse(_chunks(file), media_type="application/zip", headers=headers)


def _plain(media_type: str | None) -> str:
    return media_type if media_type and _MEDIA_TYPE.fullmatch(media_type) else ""


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _shown(kept: Correction) -> dict[str, Any]:
    told = describe(kept)
    history = [{"label": given["label"], "created": shown_time(given["created"])} for given in told["labels"]]
    seen = "data:image/png;base64," + base64.b64encode(png(kept.example.seen)).decode()
    return told | {"created": shown_time(kept.created), "labels": history, "seen": seen}
