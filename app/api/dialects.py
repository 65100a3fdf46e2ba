"""Reads requests and writes replies for both client dialects: compressed if wanted, with any Content-Type."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastapi import APIRouter
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from app.api.bodies import content_coding
from app.api.compression import CODINGS, MIN_COMPRESSED_BYTES, accepted_coding, compress, decompress
from app.api.predictions import INLINE_BYTES, run_in_thread
from app.api.replies import JSON, to_json
from app.services import Services

T = TypeVar("T")

# Replies up to this size are compressed on the event loop, in a tenth of a millisecond.
INLINE_REPLY_BYTES = 8192


class _NameConvertor(Convertor[str]):
    """Matches a part of a path up to a colon, after which there is a verb: ``/v1/models/digits:predict``."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name", _NameConvertor())


class CallRoute(Route):
    """A Starlette route that tells the metrics its path pattern, as FastAPI's routes do."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request, and add the route to its scope."""
        match, child_scope = super().matches(scope)
        return match, child_scope if match is Match.NONE else {**child_scope, "route": self}


def add_get_routes(
    router: APIRouter,
    paths: Sequence[str],
    parameters: Sequence[dict[str, Any]],
    routes: Sequence[tuple[str, Callable[..., Any], str, dict[int | str, dict[str, Any]]]],
) -> None:
    """Add the same routes below each path of a model.

    Args:
        router: The router of the dialect.
        paths: Of the model, and of a version of it.
        parameters: The documentation of each path's parameters.
        routes: Suffix of the path, endpoint, summary, and documented replies of each route.
    """
    for path, documented in zip(paths, parameters, strict=True):
        for suffix, endpoint, summary, responses in routes:
            router.add_api_route(
                path + suffix,
                endpoint,
                methods=["GET"],
                summary=summary,
                openapi_extra=documented,
                responses=responses,
            )


async def read_message(request: Request, services: Services, parse: Callable[[bytes], T]) -> T:
    """Read, decompress and parse a body. Its Content-Type does not matter.

    Raises:
        BodyTooLarge, UnsupportedEncoding, Overloaded, Stalled, ClientDisconnect: See ``BodyReader.read``.
        MalformedBody: The body cannot be decompressed, or ``parse`` raised it.
    """
    limit = services.settings.max_body
    body = await services.bodies.read(request, limit, codings=CODINGS)
    if coding := content_coding(request):
        return await run_in_thread(request, services, lambda: parse(decompress(body, coding, limit)), len(body))
    if len(body) <= INLINE_BYTES:
        return parse(body)
    return await run_in_thread(request, services, lambda: parse(body), len(body))


async def respond(
    request: Request, services: Services, body: bytes, media_type: str = JSON, headers: dict[str, str] | None = None
) -> Response:
    """Build the reply, compressed if it is large and its client accepts that."""
    headers = headers or {}
    if len(body) >= MIN_COMPRESSED_BYTES and (coding := accepted_coding(request.headers.get("accept-encoding", ""))):
        if len(body) <= INLINE_REPLY_BYTES:
            body = compress(body, coding)
        else:
            plain = body
            body = await run_in_thread(request, services, lambda: compress(plain, coding), len(plain), admitted=True)
        headers = {**headers, "content-encoding": coding, "vary": "accept-encoding"}
    return Response(body, headers=headers, media_type=media_type)


def json_reply(content: Any) -> Response:
    """Build a short JSON reply."""
    return Response(to_json(content), media_type=JSON)
