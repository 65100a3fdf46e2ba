"""Around every request: its id, its line in the log, its metrics, and the last resort for errors."""

import logging
import os
import re
import time
from collections.abc import Iterable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import logs
from app.http import problems

_log = logging.getLogger("digits.access")

# An id from outside goes into the log, so it must be short and plain.
_PLAIN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

_CLIENT_LEFT = 499  # nginx's number for a client that hung up; it is logged and counted, never sent


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The first one's value of this name, or nothing. name, and those of headers: in lower case."""
    return next((value for found, value in headers if found == name), b"")


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The one that the client gave, or a new one. headers: names in lower case."""
    given = header(headers, b"x-request-id")
    return given.decode() if _PLAIN_ID.fullmatch(given) else os.urandom(16).hex()


def line(request_id: str, method: str, path: str, status: int, seconds: float, version: int) -> dict[str, Any]:
    """What the log tells of a request."""
    return {
        "request_id": request_id,
        "method": method,
        "path": path,
        "status": status,
        "duration_ms": round(seconds * 1000, 2),
        "version": version,
    }


class Access:
    """ASGI middleware. Leaves ``request_id`` in the request's state; answers HEAD as GET without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        identifier = request_id(scope["headers"])
        state = scope["state"]
        state["request_id"] = identifier
        method, status, ended = scope["method"], 0, False
        if method == "HEAD":
            scope = {**scope, "method": "GET"}  # the web server remembers, and sends no body
            state["head"] = True

        async def send_with_id(message: Message) -> None:
            nonlocal status, ended
            ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", identifier.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = _CLIENT_LEFT
        except Exception:
            _log.exception("unexpected error", extra={"request_id": identifier})
            if status and not ended:
                raise  # the reply has begun: all that is left is to break the connection
            if not ended:  # the framework answers, and then lets it through all the same
                await problems.unexpected(identifier)(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            route = scope.get("route")
            state["metrics"].request(method, getattr(route, "path", "other"), status, seconds)
            version = state.get("version", state["serving"].live.card.version)
            logs.answered([line(identifier, method, scope["path"], status, seconds, version)])
