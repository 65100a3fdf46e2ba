"""What the composition root built, as routes see it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, TypedDict, cast

from fastapi import Depends
from starlette.requests import Request

from app.http.metrics import Metrics
from app.inference.live import Live
from app.settings import Settings


class State(TypedDict):
    """Lifespan state; every request has its own shallow copy in ``scope["state"]``."""

    settings: Settings
    live: Live
    decoders: ThreadPoolExecutor
    metrics: Metrics


def _state(request: Request) -> State:
    return cast(State, request.scope["state"])


Services = Annotated[State, Depends(_state)]
