"""POST /retrain, and the jobs that it makes."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse

from app.api import examples, schemas
from app.api.auth import ADMIN
from app.errors import CannotTrain, DatabaseUnavailable, MalformedBody, Overloaded
from app.retraining import jobs, prerequisites
from app.retraining.jobs import Event, Job
from app.services import Services, ServicesDep

router = APIRouter(tags=["retraining"])

MAX_BODY_BYTES = 64 * 1024
MAX_KEY_LENGTH = 200

STREAM_HEARTBEAT_SECONDS = 15.0  # a stream that is silent for longer is cut by proxies, so something is said

_RETRY = b"retry: 1000\n\n"

JobNumber = Annotated[int, Path(ge=1, le=2**31 - 1)]


@router.post(
    "/retrain",
    status_code=202,
    summary="Train a better model in the background",
    response_model=schemas.Job,
    responses=examples.failures(
        401, 408, examples.CANNOT_TRAIN, 413, 415, 422, examples.QUEUE_FULL, examples.NO_DATABASE
    ),
    openapi_extra=examples.RETRAIN,
    dependencies=[ADMIN],
)
async def retrain(
    request: Request,
    response: Response,
    services: ServicesDep,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=MAX_KEY_LENGTH)] = None,
) -> Any:
    """Queues a job and answers at once; `Location` is where to watch it. Jobs run one at a time, in order.

    The candidate is measured beside the version that serves, on images that are held back, and takes its place when
    it is better; the job's `verdict` says why or why not. Send an `Idempotency-Key` to be able to repeat the request
    safely: the same key gives the same job.
    """
    asked = _asked(await services.bodies.read(request, MAX_BODY_BYTES, "the settings of a training take less"))
    job = await run_in_threadpool(_submit, services, asked, idempotency_key)
    response.headers["Location"] = f"/jobs/{job.id}"
    return _shown(job)


def _asked(body: bytes) -> schemas.Retrain:
    try:
        return schemas.Retrain.model_validate_json(body or b"{}")
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'the body'}: {fault['msg']}" for fault in error.errors()]
        raise MalformedBody("; ".join(faults).replace("Value error, ", "")) from None


def _submit(services: Services, asked: schemas.Retrain, key: str | None) -> Job:
    settings = services.settings
    if key is not None and (known := services.jobs.of_key(key, asked.model_dump())):
        return known  # whatever has become impossible since
    here = settings.worker == "embedded"
    problem = prerequisites.problem(settings) if here else services.jobs.problem_of_workers()
    if problem:
        raise CannotTrain(problem)
    recipes = services.jobs.recipes_of_workers()
    if asked.recipe is not None and recipes and asked.recipe not in recipes:
        raise MalformedBody(f"recipe: there is no recipe {asked.recipe!r:.60}; there are: {', '.join(recipes)}")
    start = asked.start
    if start is None:
        fine_tune = asked.recipe is None and services.feedback.any()
        start = "current" if fine_tune else "scratch"
    wanted = jobs.Request(**asked.model_dump() | {"start": start})
    return services.jobs.submit(wanted, asked.model_dump(), key, settings.max_jobs)


@router.get(
    "/jobs",
    summary="List the jobs, newest first",
    response_model=schemas.Jobs,
    responses=examples.failures(422, examples.NO_DATABASE),
)
def list_jobs(
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Only jobs with lower numbers.")] = None,
) -> Any:
    """Retrainings that wait, run, or have ended."""
    return {"jobs": [_shown(job) for job in services.jobs.newest(limit, before)]}


@router.get(
    "/jobs/{job}",
    summary="How far a job is",
    response_model=schemas.Job,
    responses=examples.failures(examples.NO_JOB, 422, examples.NO_DATABASE),
)
def get_job(job: JobNumber, services: ServicesDep) -> Any:
    """Its status, the progress of its training, and in the end the verdict and what became of it."""
    return _shown(services.jobs.get(job))


@router.delete(
    "/jobs/{job}",
    status_code=202,
    summary="Call a job off",
    response_model=schemas.Job,
    responses=examples.failures(401, examples.NO_JOB, examples.JOB_OVER, 422, examples.NO_DATABASE),
    dependencies=[ADMIN],
)
def cancel_job(job: JobNumber, services: ServicesDep) -> Any:
    """A job that waits is cancelled at once, one that runs within two seconds; what serves does not change."""
    return _shown(services.jobs.cancel(job))


@router.get(
    "/jobs/{job}/events",
    summary="Follow a job as it happens",
    response_class=StreamingResponse,
    responses=examples.EVENTS | examples.failures(examples.NO_JOB, 422, examples.NO_DATABASE, Overloaded()),
)
async def job_events(
    request: Request,
    job: JobNumber,
    services: ServicesDep,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Server-sent events from the job's first to its last, also when it has ended long ago. `Last-Event-ID`, which
    browsers send by themselves, goes on after an interruption; 204 says that nothing more will come.
    """
    last = int(last_event_id) if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 10 else 0
    found, over = await run_in_threadpool(services.jobs.events_after, job, last)  # an unknown job is told at once
    if over and last and not found:
        return Response(status_code=204)  # a browser comes back for more until it is told that there is none
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.scope["http_version"] == "1.0":  # it has no chunked coding: the client comes back, as `retry` says
        told = _RETRY + b"".join(map(_event, found))
        return Response(told, headers=headers, media_type="text/event-stream")
    if request.state.head:  # it would wait for the end of a body that is not sent
        return Response(headers=headers, media_type="text/event-stream")
    services.event_feed.admit()
    return StreamingResponse(_stream(services, job, last, found, over), media_type="text/event-stream", headers=headers)


async def _stream(services: Services, job: int, last: int, found: list[Event], over: bool) -> AsyncIterator[bytes]:
    yield _RETRY
    with services.event_feed.stream():
        while True:
            for event in found:
                last = event.id
                yield _event(event)
            if over:
                return
            changed = services.event_feed.changed()
            try:
                found, over = await run_in_threadpool(services.jobs.events_after, job, last)
            except DatabaseUnavailable:
                found = []
            if found or over:
                continue
            if not await _first_of(changed, services.stopping, timeout_seconds=STREAM_HEARTBEAT_SECONDS):
                yield b": waiting\n\n"
            if services.stopping.is_set():
                return  # clients come back with Last-Event-ID


async def _first_of(*events: asyncio.Event, timeout_seconds: float) -> bool:
    """Whether one of the events is set within the time."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(tasks, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return bool(done)


def _event(event: Event) -> bytes:
    data = orjson.dumps(event.data | {"time": shown_time(event.created)})
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.id, event.kind.encode(), data)


def _shown(job: Job) -> dict[str, Any]:
    shown = dataclasses.asdict(job)
    return shown | {name: shown_time(shown[name]) for name in ("created", "started", "finished")}


def shown_time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
