"""The short way to the calls that have to be fast, or answered before the framework is there."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import DigitsError
from app.http import problems

Endpoints = Mapping[tuple[str, str], Callable[[Request], Awaitable[Response]]]  # by method and path


@dataclass(frozen=True)
class _Route:
    """What of a framework's route is asked for."""

    path: str


class Direct:
    """ASGI middleware that calls some endpoints itself.

    They take the request and give a response, and need nothing of what the framework does on the way to them: finding
    the route among all, solving dependencies, validating, and a dozen layers around each. To the framework they are
    its endpoints all the same, and on its page of documentation.
    """

    def __init__(self, app: ASGIApp, endpoints: Endpoints) -> None:
        self._app = app
        self._endpoints = {place: (_Route(place[1]), endpoint) for place, endpoint in endpoints.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._endpoints.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["route"], endpoint = found  # as the framework does; the metrics name it
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except DigitsError as error:
            response = await problems.on_digits_error(request, error)
        await response(scope, receive, send)
