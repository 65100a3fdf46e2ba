"""The short way to the calls that have to be fast."""

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import DigitsError
from app.http import problems


class Direct:
    """ASGI middleware that calls the endpoints of one router itself.

    They take the request and give a response, and need nothing of what the framework does on the way to them: finding
    the route among all, solving dependencies, validating, and a dozen layers around each. To the framework they are
    its endpoints all the same, and on its page of documentation.
    """

    def __init__(self, app: ASGIApp, router: APIRouter) -> None:
        self._app = app
        self._routes = {
            (method, route.path): route
            for route in router.routes
            if isinstance(route, APIRoute)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route  # as the framework does; the metrics name it
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request)
        except DigitsError as error:
            response = await problems.on_digits_error(request, error)
        await response(scope, receive, send)
