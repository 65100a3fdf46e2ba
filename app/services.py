"""What the lifespan builds, on ``app.state``: not every ASGI server passes the lifespan's own state to requests."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, FastAPI, Request

from app.api.bodies import BodyReader
from app.api.decode_pool import DecodePool
from app.api.together import Together
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
    """Everything that requests work with.

    Attributes:
        small_pictures: Reads pictures of 28x28.
        stopping: Set when the service was told to stop.
        admin_digest: SHA-256 of the admin token. None where there is none, and every call that needs it is refused.
        export_lock: Held by the one archive that is being sent.
    """

    settings: Settings
    metrics: Metrics
    manager: ModelManager
    bodies: BodyReader
    decode_pool: DecodePool
    small_pictures: Together[Float32Image | UInt8Image, PreprocessedImage]
    jobs: Jobs
    feedback: Feedback
    event_feed: EventFeed
    stopping: asyncio.Event
    admin_digest: bytes | None
    export_lock: asyncio.Lock


def services_of(app: FastAPI) -> Services:
    """What the lifespan of an app has built."""
    return cast(Services, app.state.services)


def model_of(request: Request) -> LoadedModel:
    """The version that serves as the request comes. It answers to the end, and is the one in the log."""
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
