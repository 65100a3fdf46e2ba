"""Builds the FastAPI application. Run it with ``python -m app``, or with uvicorn as the README describes."""

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import signal
import sys
import threading
from collections.abc import AsyncIterator
from importlib.metadata import version
from types import FrameType
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from app import logs
from app.api import (
    auth,
    feedback,
    health,
    models,
    open_inference,
    openapi,
    page,
    predictions,
    problems,
    retraining,
    tf_serving,
)
from app.api.bodies import BodyReader
from app.api.decode_pool import DecodePool
from app.api.micro_batcher import MicroBatcher
from app.api.middleware import AccessMiddleware
from app.database import Database
from app.errors import DatabaseUnavailable, DigitsError, ModelError, StartError
from app.inference import keras_file
from app.inference.manager import ModelManager
from app.metrics import Metrics
from app.parent_death_signal import set_parent_death_signal
from app.retraining.events import EventFeed
from app.retraining.feedback import Feedback
from app.retraining.jobs import Jobs
from app.retraining.supervisor import supervise
from app.services import Services
from app.settings import Settings, validation_message
from app.vision.pipeline import preprocess_many

DESCRIPTION = """Reads handwritten digits. Send a picture, get a digit with ten probabilities:

    curl -F file=@seven.png http://127.0.0.1:8000/predict

Errors are `application/problem+json`; their `detail` explains what to do. Below `/v1` and `/v2` they are
`{"error": "…"}`, as clients of TensorFlow Serving and of the Open Inference Protocol expect."""

# Exit status of a server process that cannot start. uvicorn's supervisor does not restart a process with this status.
STARTUP_FAILURE = 3


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service and load the version that CURRENT names.

    The version is loaded here, not in the lifespan: if that fails, the process ends with one log line on any server.

    Args:
        settings: None reads them from the environment. An error then ends the process with one log line and status
            ``STARTUP_FAILURE`` instead of an exception.

    Raises:
        ModelError: The version cannot be loaded.
        StartError: The service cannot start with these settings.
    """
    if settings is not None:
        return _build(settings)
    logs.configure()
    try:
        return _build(Settings.from_environment())
    except ValidationError as error:
        logging.getLogger("digits").critical(validation_message(error))
    except (ModelError, StartError) as error:
        logging.getLogger("digits").critical(str(error))
    sys.exit(STARTUP_FAILURE)


def _build(settings: Settings) -> FastAPI:
    keras_file.convert(settings)
    metrics = Metrics()
    manager = ModelManager(settings.models, settings.threads, metrics, settings.max_waiting)
    try:
        database = Database(settings.database())
    except DatabaseUnavailable as error:  # an unknown kind of database, or its driver is missing
        raise StartError(str(error)) from None
    jobs = Jobs(database, settings.lease)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if (parent := multiprocessing.parent_process()) and parent.pid:  # uvicorn's supervisor
            set_parent_death_signal(parent.pid)
        decode_pool = DecodePool(settings.threads, settings.deadline)
        app.state.services = Services(
            settings=settings,
            metrics=metrics,
            manager=manager,
            bodies=BodyReader(),
            decode_pool=decode_pool,
            small_pictures=MicroBatcher(preprocess_many),
            jobs=jobs,
            feedback=Feedback(database),
            event_feed=EventFeed(jobs),
            stopping=_stop_event(),
            admin_digest=auth.load_admin_digest(settings),
            export_lock=asyncio.Lock(),
        )
        tasks = [asyncio.create_task(manager.watch()), asyncio.create_task(_migrate(database))]
        if settings.worker == "embedded":
            tasks.append(asyncio.create_task(supervise(settings)))
        # Imported modules stay in memory, and requests leave almost no garbage. Frequent collections would cost a tenth
        # of the throughput, and a full one pauses the process for 0.1 seconds.
        gc.freeze()
        gc.set_threshold(20_000)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            decode_pool.close()
            database.close()

    app = FastAPIOffline(  # FastAPI with a /docs page that loads nothing from other hosts
        title="Digits",
        version=version("digits"),
        description=DESCRIPTION,
        redoc_url=None,
        lifespan=lifespan,
        routes=[*predictions.routes, *page.routes(), *open_inference.routes, *tf_serving.routes],
        redirect_slashes=False,  # AccessMiddleware accepts both forms; a redirect would need the proxy's scheme
    )
    for router in (
        models.router,
        retraining.router,
        feedback.router,
        health.router,
        open_inference.router,
        tf_serving.router,
    ):
        app.include_router(router)
    app.add_exception_handler(DigitsError, problems.on_digits_error)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(RequestValidationError, problems.on_validation_error)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins.replace(",", " ").split(),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=[
                "authorization",
                "content-encoding",
                "content-type",
                "idempotency-key",
                "inference-header-content-length",
                "last-event-id",
                "traceparent",
                "x-request-id",
            ],
            expose_headers=["inference-header-content-length", "location", "retry-after", "x-request-id"],
        )
    app.add_middleware(AccessMiddleware)  # the outermost one, so that it also logs preflight requests
    app.openapi = lambda: openapi.describe(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


async def _migrate(database: Database) -> None:
    """Migrate the database at the start. If it does not answer, the first call that needs it tries again."""
    with contextlib.suppress(DatabaseUnavailable):
        await asyncio.to_thread(database.migrate)


def _stop_event() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set. uvicorn ends the lifespan only after the last reply."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stopping.set)
        previous = previous_handlers[number]
        if callable(previous):
            previous(number, frame)

    if threading.current_thread() is not threading.main_thread():
        return stopping  # handlers can be set on the main thread only
    previous_handlers: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in previous_handlers:
        signal.signal(number, on_signal)
    return stopping
