"""Maps every failure to a reply: application/problem+json (RFC 9457), or ``{"error": …}`` below /v1 and /v2."""

import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from app import errors
from app.inference.rejection import Rejected, RejectionReason

MEDIA_TYPE = "application/problem+json"

METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")  # HTTP methods that routes use

_log = logging.getLogger("digits")


@dataclass(frozen=True)
class Problem:
    """How a kind of failure is reported.

    Attributes:
        status: HTTP status.
        slug: Last part of ``type``.
        title: Summary, the same for all failures of this kind.
    """

    status: int
    slug: str
    title: str

    @property
    def type(self) -> str:
        """The URI of this kind of failure. It is stable: programs may rely on it."""
        return f"urn:digits:problem:{self.slug}"

    def body(self, detail: str, request_id: str | None = None) -> dict[str, Any]:
        """Build the body of a reply."""
        body = {"type": self.type, "title": self.title, "status": self.status, "detail": detail}
        return body | ({"request_id": request_id} if request_id else {})


PROBLEMS: dict[type[errors.DigitsError], Problem] = {
    errors.MalformedRequest: Problem(400, "malformed-request", "This is no request that can be answered"),
    errors.HeadTooLarge: Problem(431, "head-too-large", "The head of the request is too large"),
    errors.MalformedBody: Problem(422, "malformed-body", "The body is not as expected"),
    errors.MalformedParameter: Problem(422, "invalid-parameter", "A parameter is not as expected"),
    errors.BodyTooLarge: Problem(413, "body-too-large", "The body is too large"),
    errors.Stalled: Problem(408, "stalled", "The rest of the body did not come"),
    errors.BatchTooLarge: Problem(413, "batch-too-large", "Too many images in one call"),
    errors.UnsupportedMediaType: Problem(415, "unsupported-media-type", "This type of body carries no image"),
    errors.UnsupportedEncoding: Problem(415, "unsupported-encoding", "This encoding of a body is not read here"),
    errors.Unauthorized: Problem(401, "unauthorized", "This call needs the admin token"),
    errors.NotAnImage: Problem(422, "not-an-image", "The image cannot be read"),
    errors.UnsupportedImage: Problem(415, "unsupported-image", "This image format is not read here"),
    errors.TooManyPixels: Problem(413, "too-many-pixels", "The image has too many pixels"),
    errors.VersionNotFound: Problem(404, "version-not-found", "There is no such version"),
    errors.VersionUnusable: Problem(409, "version-unusable", "This version cannot be served"),
    errors.NotWritable: Problem(503, "models-not-writable", "The folder of the versions cannot be written"),
    errors.JobNotFound: Problem(404, "job-not-found", "There is no such job"),
    errors.JobOver: Problem(409, "job-over", "The job has ended"),
    errors.QueueFull: Problem(429, "queue-full", "As many jobs wait as may"),
    errors.CannotTrain: Problem(409, "cannot-train", "There is nothing here to train with"),
    errors.IdempotencyKeyReused: Problem(
        422, "idempotency-key-reused", "The Idempotency-Key was used for another request"
    ),
    errors.FeedbackNotFound: Problem(404, "feedback-not-found", "There is no such correction"),
    errors.StorageFull: Problem(503, "storage-full", "There is no room left to keep anything"),
    errors.DatabaseUnavailable: Problem(503, "database-unavailable", "The database does not answer"),
    errors.Overloaded: Problem(503, "overloaded", "More is asked than the service can do"),
    errors.TooLate: Problem(504, "too-late", "The answer would have come too late"),
    errors.Stopping: Problem(503, "stopping", "The service is stopping"),
    errors.ModelError: Problem(500, "damaged-version", "The version on disk is damaged"),
}

REJECTIONS = {
    RejectionReason.BLANK: Problem(422, "blank-image", "The image is blank"),
    RejectionReason.SEVERAL_DIGITS: Problem(422, "several-digits", "There are several digits on the image"),
    RejectionReason.NO_DIGIT: Problem(422, "no-digit", "No digit was recognised"),
    RejectionReason.UNSURE: Problem(422, "unsure", "The digit could be another one"),
}

# After this time another try may succeed.
RETRY_AFTER_SECONDS: dict[type[errors.DigitsError], int] = {
    errors.QueueFull: 60,
    errors.DatabaseUnavailable: 5,
    errors.StorageFull: 60,
    errors.Stopping: 5,
    errors.Overloaded: 1,
    errors.TooLate: 1,
}


def describe(error: errors.DigitsError) -> Problem:
    """Return the problem of an error: of its class, or of the nearest base class that has one."""
    if isinstance(error, Rejected):
        return REJECTIONS[error.reason]
    return next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)


def response(
    path: str, problem: Problem, detail: str, request_id: str, headers: dict[str, str] | None = None
) -> Response:
    """Build the reply for a problem, in the shape that clients of the path expect."""
    detail = detail.encode("utf-8", "backslashreplace").decode()  # JSON can name lone surrogates, UTF-8 has none
    if is_dialect(path):
        # Other servers of these protocols answer 400 to input that is not valid.
        status = 400 if problem.status == 422 else problem.status
        body = orjson.dumps({"error": detail})
        return Response(body, status, headers=headers, media_type="application/json")
    body = orjson.dumps(problem.body(detail, request_id))
    return Response(body, problem.status, headers=headers, media_type=MEDIA_TYPE)


def is_dialect(path: str) -> bool:
    """Return whether a path belongs to TensorFlow Serving's protocol v1 or to the Open Inference Protocol v2."""
    return path.split("/", 2)[1:2] in (["v1"], ["v2"])


async def on_digits_error(request: Request, error: Exception) -> Response:
    """Answer an expected failure with its text, unless that is for the log, since it may name paths."""
    assert isinstance(error, errors.DigitsError)
    problem, detail = describe(error), str(error)
    if problem.status >= 500 and not isinstance(
        error, errors.Busy | errors.Stopping
    ):  # those are in the access log only
        _log.error(detail, extra={"request_id": request.state.request_id})
    if problem is PROBLEMS[errors.ModelError]:
        detail = "the version on disk is damaged; the log of the service names the file and the reason"
    if isinstance(error, errors.StorageFull):
        detail = (
            "there is no room on the disk of the database, so nothing was changed; predictions go on. Free some space"
        )
    elif isinstance(error, errors.DatabaseUnavailable):
        detail = "the database does not answer, so nothing was changed; predictions go on. Try again in a few seconds"
    return response(request.scope["path"], problem, detail, request.state.request_id, _headers(error))


def refuse(path: str, error: errors.DigitsError, request_id: str) -> Response:
    """Build the reply to an invalid request. It closes the connection."""
    return response(path, describe(error), str(error), request_id, _headers(error) | {"connection": "close"})


def _headers(error: errors.DigitsError) -> dict[str, str]:
    headers = {"www-authenticate": "Bearer"} if isinstance(error, errors.Unauthorized) else {}
    # Otherwise the server would read the rest of the refused body, however long it is, to keep the connection.
    if isinstance(error, errors.BodyTooLarge | errors.Stalled | errors.Unauthorized | errors.UnsupportedEncoding):
        headers["connection"] = "close"
    if type(error) in RETRY_AFTER_SECONDS:
        headers["retry-after"] = str(RETRY_AFTER_SECONDS[type(error)])
    return headers


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer errors of the framework: unknown paths and methods."""
    status, headers = int(getattr(error, "status_code", 500)), getattr(error, "headers", None)
    path, method = request.scope["path"], request.method
    if status == 405:  # the framework names the methods of the first matching route only
        routes, scope = request.app.routes, request.scope
        allowed = [
            method
            for method in METHODS
            if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in routes)
        ]
        headers = {"allow": ", ".join(allowed)}
    detail = {
        404: f"there is no such path, {path}; /docs lists all calls",
        405: f"{path} does not accept {method}; use {(headers or {}).get('allow')}",
    }.get(status, str(getattr(error, "detail", "")))
    if path.startswith("/v1/") and status in (404, 405):  # TensorFlow Serving's words
        status, detail = 400 if status == 404 else status, f"Malformed request: {method} {path}"
    return response(path, _generic(status), detail, request.state.request_id, headers)


async def on_validation_error(request: Request, error: Exception) -> Response:
    """Answer a path or query parameter that is not valid."""
    assert isinstance(error, RequestValidationError)
    detail = "; ".join(f"{'.'.join(str(part) for part in item['loc'][1:])}: {item['msg']}" for item in error.errors())
    return response(request.scope["path"], PROBLEMS[errors.MalformedParameter], detail, request.state.request_id)


def unexpected(path: str, request_id: str) -> Response:
    """Build the reply to an unexpected error. Only the log has the traceback; the request id leads to it."""
    return response(
        path,
        _generic(500),
        "an unexpected error occurred; try again, and report the request id if it persists",
        request_id,
    )


def _generic(status: int) -> Problem:
    phrase = HTTPStatus(status).phrase
    return Problem(status, phrase.lower().replace(" ", "-"), phrase)
