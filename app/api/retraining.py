"""The routes POST /retrain and /jobs."""

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

STREAM_HEARTBEAT_SECONDS = 15.0  # a comment is sent this often, since proxies close idle streams

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
    """Queues a job and answers at once. `Location` is the URL of the job. Jobs run one at a time, in order.

    The candidate is compared with the version that serves, on held-out images, and replaces it if it is better. The
    job's `verdict` explains the decision. Send an `Idempotency-Key` to repeat the request safely: the same key gives
    the same job.
    """
    body = await services.bodies.read(request, MAX_BODY_BYTES, "send only the settings of the training")
    job = await run_in_threadpool(_submit, services, _parse_settings(body), idempotency_key)
    response.headers["Location"] = f"/jobs/{job.id}"
    return _job_body(job)


def _parse_settings(body: bytes) -> schemas.Retrain:
    try:
        return schemas.Retrain.model_validate_json(body or b"{}")
    except ValidationError as error:
        errors = [f"{'.'.join(map(str, item['loc'])) or 'the body'}: {item['msg']}" for item in error.errors()]
        raise MalformedBody("; ".join(errors).replace("Value error, ", "")) from None


def _submit(services: Services, retrain: schemas.Retrain, key: str | None) -> Job:
    settings, body = services.settings, retrain.model_dump()
    if key is not None and (job := services.jobs.find_by_key(key, body)):
        return job  # before the checks below, so that a repeated request gets its job in any case
    is_embedded = settings.worker == "embedded"
    problem = prerequisites.problem(settings) if is_embedded else services.jobs.problem_of_workers()
    if problem:
        raise CannotTrain(problem)
    recipes = services.jobs.recipes_of_workers()
    if retrain.recipe is not None and recipes and retrain.recipe not in recipes:
        raise MalformedBody(f"recipe: there is no recipe {retrain.recipe!r:.60}; there are: {', '.join(recipes)}")
    start = retrain.start
    if start is None:
        may_fine_tune = retrain.recipe is None and services.feedback.any()
        start = "current" if may_fine_tune else "scratch"
    return services.jobs.submit(jobs.Request(**body | {"start": start}), body, key, settings.max_jobs)


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
    """Retraining jobs that are queued, running, or have ended."""
    return {"jobs": [_job_body(job) for job in services.jobs.newest(limit, before)]}


@router.get(
    "/jobs/{job}",
    summary="Get a job",
    response_model=schemas.Job,
    responses=examples.failures(examples.NO_JOB, 422, examples.NO_DATABASE),
)
def get_job(job: JobNumber, services: ServicesDep) -> Any:
    """A job's status, the progress of its training, and at the end the verdict and the version."""
    return _job_body(services.jobs.get(job))


@router.delete(
    "/jobs/{job}",
    status_code=202,
    summary="Cancel a job",
    response_model=schemas.Job,
    responses=examples.failures(401, examples.NO_JOB, examples.JOB_OVER, 422, examples.NO_DATABASE),
    dependencies=[ADMIN],
)
def cancel_job(job: JobNumber, services: ServicesDep) -> Any:
    """Cancels a queued job at once, and a running one within two seconds. The version that serves does not change."""
    return _job_body(services.jobs.cancel(job))


@router.get(
    "/jobs/{job}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses=examples.EVENTS | examples.failures(examples.NO_JOB, 422, examples.NO_DATABASE, Overloaded()),
)
async def job_events(
    request: Request,
    job: JobNumber,
    services: ServicesDep,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Server-sent events of a job from its first to its last, even if it ended long ago.

    `Last-Event-ID`, which browsers send by themselves, continues after an interruption. Status 204 means that there
    will be no more events.
    """
    last = int(last_event_id) if last_event_id and last_event_id.isdecimal() and len(last_event_id) < 10 else 0
    found, is_over = await run_in_threadpool(
        services.jobs.events_after, job, last
    )  # raises JobNotFound before the reply starts
    if is_over and last and not found:
        return Response(status_code=204)  # it stops browsers from connecting again
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.scope["http_version"] == "1.0":  # without chunked encoding: the client connects again
        content = _RETRY + b"".join(map(_event_bytes, found))
        return Response(content, headers=headers, media_type="text/event-stream")
    if request.state.head:  # otherwise it would wait for the end of the stream
        return Response(headers=headers, media_type="text/event-stream")
    services.event_feed.admit()
    return StreamingResponse(
        _stream(services, job, last, found, is_over), media_type="text/event-stream", headers=headers
    )


async def _stream(services: Services, job: int, last: int, found: list[Event], is_over: bool) -> AsyncIterator[bytes]:
    yield _RETRY
    with services.event_feed.stream():
        while True:
            for event in found:
                last = event.id
                yield _event_bytes(event)
            if is_over:
                return
            changed = services.event_feed.changed()
            try:
                found, is_over = await run_in_threadpool(services.jobs.events_after, job, last)
            except DatabaseUnavailable:
                found = []
            if found or is_over:
                continue
            if not await _first_of(changed, services.stopping, timeout_seconds=STREAM_HEARTBEAT_SECONDS):
                yield b": waiting\n\n"
            if services.stopping.is_set():
                return  # clients connect again with Last-Event-ID


async def _first_of(*events: asyncio.Event, timeout_seconds: float) -> bool:
    """Wait for events, and return whether one of them was set within the time."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(tasks, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return bool(done)


def _event_bytes(event: Event) -> bytes:
    data = orjson.dumps(event.data | {"time": to_iso_time(event.created)})
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.id, event.kind.encode(), data)


def _job_body(job: Job) -> dict[str, Any]:
    body = dataclasses.asdict(job)
    return body | {name: to_iso_time(body[name]) for name in ("created", "started", "finished")}


def to_iso_time(seconds: float | None) -> str | None:
    """Convert seconds since 1970 to UTC, ISO 8601."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
