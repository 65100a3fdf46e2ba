"""The application. Run it with ``python -m app``, or with uvicorn as the README says."""

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
from app.api import auth, feedback, health, models, openapi, page, predictions, problems, retraining
from app.api.bodies import BodyReader
from app.api.decode_pool import DecodePool
from app.api.middleware import AccessMiddleware
from app.api.together import Together
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
from app.settings import Settings, faults
from app.vision.read import read_small

DESCRIPTION = """Reads handwritten digits. Send a picture, get a digit with ten probabilities:

    curl -F file=@seven.png http://127.0.0.1:8000/predict

Errors are `application/problem+json`; their `detail` says what to do."""

# The status with which a server process leaves that cannot start. uvicorn's supervisor does not start it again.
STARTUP_FAILURE = 3


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the service and load the version that CURRENT names.

    The version loads here, not in the lifespan, so that one that does not load ends the start with one line, whatever
    server runs the app.

    Args:
        settings: Without them, as a server calls it, they come from the environment, and what the operator has to mend
            ends the process with one line and status 3.

    Raises:
        ModelError: The version does not load.
        StartError: A setting cannot be.
    """
    if settings is not None:
        return _build(settings)
    logs.configure()
    try:
        return _build(Settings.from_environment())
    except ValidationError as error:
        logging.getLogger("digits").critical(faults(error))
    except (ModelError, StartError) as error:
        logging.getLogger("digits").critical(str(error))
    sys.exit(STARTUP_FAILURE)


def _build(settings: Settings) -> FastAPI:
    keras_file.convert(settings)
    metrics = Metrics()
    manager = ModelManager(settings.models, settings.threads, metrics, settings.max_waiting)
    try:
        database = Database(settings.database())
    except DatabaseUnavailable as error:  # of a kind that is not known, or without its driver
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
            small_pictures=Together(read_small),
            jobs=jobs,
            feedback=Feedback(database),
            event_feed=EventFeed(jobs),
            stopping=_set_by_signals(),
            admin_digest=auth.load_admin_digest(settings),
            export_lock=asyncio.Lock(),
        )
        tasks = [asyncio.create_task(manager.watch()), asyncio.create_task(_migrate(database))]
        if settings.worker == "embedded":
            tasks.append(asyncio.create_task(supervise(settings)))
        # What was imported stays, and requests leave next to no garbage. To look for it costs a tenth of the requests a
        # second, and a pause of a tenth of a second where all objects are looked at.
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

    app = FastAPIOffline(  # FastAPI whose documentation page needs no other host
        title="Digits",
        version=version("digits"),
        description=DESCRIPTION,
        redoc_url=None,
        lifespan=lifespan,
        routes=[*predictions.routes, *page.routes()],
        redirect_slashes=False,  # AccessMiddleware takes both; a redirect would need to know the proxy's scheme
    )
    for router in (models.router, retraining.router, feedback.router, health.router):
        app.include_router(router)
    app.add_exception_handler(DigitsError, problems.on_digits_error)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(RequestValidationError, problems.on_validation_error)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins.replace(",", " ").split(),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["authorization", "content-type", "idempotency-key", "last-event-id", "x-request-id"],
            expose_headers=["location", "retry-after", "x-request-id"],
        )
    app.add_middleware(AccessMiddleware)  # the outermost, so that it sees preflights too
    app.openapi = lambda: openapi.describe(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


async def _migrate(database: Database) -> None:
    """Before the first call that needs it, where the database answers; else that call tries again."""
    with contextlib.suppress(DatabaseUnavailable):
        await asyncio.to_thread(database.migrate)


def _set_by_signals() -> asyncio.Event:
    """An event that is set when the server is told to stop. uvicorn tells the app only after the last reply."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hear(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stopping.set)
        before = handlers[number]
        if callable(before):
            before(number, frame)

    if threading.current_thread() is not threading.main_thread():
        return stopping  # only the main thread hears signals
    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in handlers:
        signal.signal(number, hear)
    return stopping
