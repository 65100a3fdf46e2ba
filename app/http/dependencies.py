"""What the composition root built, as routes see it."""

import asyncio
from typing import Annotated, TypedDict, cast

from fastapi import Depends
from starlette.requests import Request

from app.http.bodies import Bodies
from app.http.decoders import Decoders
from app.http.express import Express
from app.http.metrics import Metrics
from app.inference.live import Live
from app.inference.serving import Serving
from app.retraining.feedback import Feedback
from app.retraining.jobs import Jobs
from app.settings import Settings


class State(TypedDict):
    """Lifespan state; every request has its own shallow copy in ``scope["state"]``."""

    settings: Settings
    serving: Serving
    bodies: Bodies
    decoders: Decoders
    express: Express
    metrics: Metrics
    jobs: Jobs
    feedback: Feedback
    stopping: asyncio.Event  # set when the service was told to end, so that streams end too
    admin: bytes | None  # SHA-256 of the admin token; None: there is none, and nobody is let in


def services_of(request: Request) -> State:
    """What the composition root built."""
    return cast(State, request.scope["state"])


def snapshot_of(request: Request) -> Live:
    """The version that serves as the request comes. It answers to the end, and is the one that the log names."""
    live = services_of(request)["serving"].live
    request.scope["state"]["version"] = live.card.version
    return live


# Both are coroutines though they wait for nothing: the framework would hand plain functions to a thread.
async def _services(request: Request) -> State:
    return services_of(request)


async def _snapshot(request: Request) -> Live:
    return snapshot_of(request)


Services = Annotated[State, Depends(_services)]
Snapshot = Annotated[Live, Depends(_snapshot)]
