"""What the composition root built, as the framework's calls ask for it."""

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from app.http.state import FullState, snapshot_of
from app.inference.live import Live


# Both are coroutines though they wait for nothing: the framework would hand plain functions to a thread.
async def _services(request: Request) -> FullState:
    return cast(FullState, request.scope["state"])


async def _snapshot(request: Request) -> Live:
    return snapshot_of(request)


Services = Annotated[FullState, Depends(_services)]
Snapshot = Annotated[Live, Depends(_snapshot)]
