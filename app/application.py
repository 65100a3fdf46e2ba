"""The application: the framework with all of its routes."""

from importlib.metadata import version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from app.errors import DigitsError
from app.http import described, examples, feedback, models, problems, retraining

DESCRIPTION = """Reads handwritten digits. Send a picture, get a digit with ten probabilities:

    curl -F file=@seven.png http://127.0.0.1:8000/predict

Errors are `application/problem+json`; their `detail` says what to do."""


def build() -> FastAPI:
    """It finds what it works with in the state of its requests, see ``http.state.FullState``."""
    app = FastAPIOffline(  # FastAPI whose documentation page needs no other host
        title="Digits",
        version=version("digits"),
        description=DESCRIPTION,
        redoc_url=None,
    )
    for router in (described.PREDICTIONS, models.router, retraining.router, feedback.router, described.HEALTH):
        app.include_router(router)
    app.add_exception_handler(DigitsError, problems.on_digits_error)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(RequestValidationError, problems.on_validation_error)
    app.add_exception_handler(Exception, problems.on_unexpected)
    bare = app.openapi
    app.openapi = lambda: examples.add_replies(bare())  # type: ignore[method-assign]  # the framework's own way
    app.add_api_route("/", lambda: RedirectResponse("/docs"), include_in_schema=False)
    return app
