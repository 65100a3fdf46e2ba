"""What the composition root built, as requests see it."""

import asyncio
from typing import TYPE_CHECKING, TypedDict, cast

from starlette.requests import Request

from app.http.bodies import Bodies
from app.http.decoders import Decoders
from app.http.express import Express
from app.http.metrics import Metrics
from app.inference.live import Live
from app.inference.serving import Serving
from app.settings import Settings

if TYPE_CHECKING:  # they come with the framework
    from app.retraining.feedback import Feedback
    from app.retraining.jobs import Jobs


class State(TypedDict):
    """Lifespan state; every request has its own shallow copy in ``scope["state"]``."""

    settings: Settings
    serving: Serving
    bodies: Bodies
    decoders: Decoders
    express: Express
    metrics: Metrics
    stopping: asyncio.Event  # set when the service was told to end, so that streams end too
    admin: bytes | None  # SHA-256 of the admin token; None: there is none, and nobody is let in


class Records(TypedDict):
    """What only the framework's calls have besides."""

    jobs: "Jobs"
    feedback: "Feedback"


class FullState(State, Records):
    """The state of the framework's calls."""


def services_of(request: Request) -> State:
    """What the composition root built."""
    return cast(State, request.scope["state"])


def snapshot_of(request: Request) -> Live:
    """The version that serves as the request comes. It answers to the end, and is the one that the log names."""
    live = services_of(request)["serving"].live
    request.scope["state"]["version"] = live.card.version
    return live
