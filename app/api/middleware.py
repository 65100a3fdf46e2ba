"""Handles what all requests share: the request id, the access log, metrics and unexpected errors."""

import logging
import os
import re
import time
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import problems
from app.errors import DigitsError, MalformedRequest
from app.services import services_of

_log = logging.getLogger("digits.access")

# A client's request id goes into the log, so it must be short and have no special characters.
_PLAIN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

# In characters. Lines of up to 4,096 bytes from several processes do not mix in a pipe.
MAX_LOGGED_PATH_LENGTH = 500

_CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that disconnected; it is logged and counted, never sent


class AccessMiddleware:
    """ASGI middleware that identifies, logs and counts requests.

    It adds ``request_id`` to the request's state, answers HEAD like GET without the body, ignores a slash at the end
    of the path, and refuses requests that ``app.protocol`` or RFC 9112 rejects.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        services = services_of(scope["app"])
        client_id, hosts = b"", 0
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                client_id = value
            elif name == b"host":
                hosts += 1
        request_id = client_id.decode() if _PLAIN_ID.fullmatch(client_id) else os.urandom(16).hex()
        method, path = scope["method"], scope["path"]
        is_head = method == "HEAD"
        state = {**scope.get("state", {}), "request_id": request_id, "head": is_head}
        scope = {
            **scope,
            "state": state,
            "method": "GET" if is_head else method,
            "path": path.rstrip("/") or "/" if path.endswith("/") else path,
        }
        status, ended = 0, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            else:
                ended = not message.get("more_body", False)
                if is_head:
                    message["body"] = b""
            await send(message)

        refusal = _refusal(scope, state, hosts)
        try:
            if refusal is None:
                await self._app(scope, receive, send_with_id)
            else:
                await problems.refuse(refusal, request_id)(scope, receive, send_with_id)
        except ClientDisconnect:
            status = _CLIENT_CLOSED_REQUEST
        except Exception:
            _log.exception("unexpected error", extra={"request_id": request_id})
            if status and not ended:
                raise  # part of the reply was sent, so the server can only close the connection
            if not ended:
                await problems.unexpected(request_id)(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            if "refusal" in state:
                method, path = "-", "-"
            services.metrics.request(method, _pattern(scope), status, seconds)
            line = {
                "request_id": request_id,
                "method": method,
                "path": path[:MAX_LOGGED_PATH_LENGTH],
                "status": status,
                "duration_ms": round(seconds * 1000, 2),
                "version": state.get("version", services.manager.model.manifest.version),
            }
            _log.info("request", extra=line)


def _pattern(scope: Scope) -> str:
    """Return the path of the route for metrics: the number of routes is limited, that of paths is not."""
    if route := scope.get("route"):
        return str(route.path)
    return scope["path"] if "endpoint" in scope and not scope.get("path_params") else "other"


def _refusal(scope: Scope, state: dict[str, Any], hosts: int) -> DigitsError | None:
    """Return why a request is refused before it is routed, or None."""
    if "refusal" in state:  # from app.protocol
        refusal: DigitsError = state["refusal"]
        return refusal
    if hosts != 1 and scope["http_version"] == "1.1":  # RFC 9112, 3.2
        return MalformedRequest(f"the request has {hosts} Host headers; HTTP/1.1 requires one")
    return None
