"""The objects that the lifespan builds, and typed access to them.

They hang on ``app.state``, because not every ASGI server passes the lifespan's state to requests.
"""

import asyncio
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, FastAPI, Request

from app.api.bodies import BodyReader
from app.api.decode_pool import DecodePool
from app.api.micro_batcher import MicroBatcher
from app.inference.manager import LoadedModel, ModelManager
from app.metrics import Metrics
from app.retraining.events import EventFeed
from app.retraining.feedback import Feedback
from app.retraining.jobs import Jobs
from app.settings import Settings
from app.vision.image_ops import Float32Image, UInt8Image
from app.vision.pipeline import PreprocessedImage


@dataclass(frozen=True)
class Services:
    """Everything that route handlers use.

    Attributes:
        settings: The settings of the service.
        metrics: Counters and gauges for Prometheus.
        manager: Holds the version that serves.
        bodies: Reads request bodies.
        decode_pool: Threads that parse bodies and decode pictures.
        small_pictures: Preprocesses pictures of 28x28 pixels, several in one call.
        jobs: The retraining jobs.
        feedback: The corrections.
        event_feed: Wakes event streams when there are new events.
        stopping: Set by SIGTERM and SIGINT.
        admin_digest: SHA-256 of the admin token. None where there is no token; calls that need it are then refused.
        export_lock: Held while the feedback archive is sent, so that one is sent at a time.
    """

    settings: Settings
    metrics: Metrics
    manager: ModelManager
    bodies: BodyReader
    decode_pool: DecodePool
    small_pictures: MicroBatcher[Float32Image | UInt8Image, PreprocessedImage]
    jobs: Jobs
    feedback: Feedback
    event_feed: EventFeed
    stopping: asyncio.Event
    admin_digest: bytes | None
    export_lock: asyncio.Lock


def services_of(app: FastAPI) -> Services:
    """Return what the lifespan of an app has built."""
    return cast(Services, app.state.services)


def model_of(request: Request) -> LoadedModel:
    """Return the version that serves now, and note it for the log. The request uses it to its end."""
    model = services_of(request.app).manager.model
    request.state.version = model.manifest.version
    return model


# Coroutines, because FastAPI runs plain functions in a thread.
async def _services(request: Request) -> Services:
    return services_of(request.app)


async def _model(request: Request) -> LoadedModel:
    return model_of(request)


ServicesDep = Annotated[Services, Depends(_services)]
ModelDep = Annotated[LoadedModel, Depends(_model)]
