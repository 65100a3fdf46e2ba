"""The application: the framework with all of its routes, and what stands around it."""

from importlib.metadata import version

from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp

from app import lifespan
from app.errors import DigitsError
from app.http import examples, feedback, health, models, predictions, problems, retraining
from app.http.access import Access
from app.http.direct import Direct
from app.http.metrics import Metrics
from app.inference.serving import Serving
from app.settings import Settings

DESCRIPTION = """Reads handwritten digits. Send a picture, get a digit with ten probabilities:

    curl -F file=@seven.png http://127.0.0.1:8000/predict

Errors are `application/problem+json`; their `detail` says what to do."""


def build(settings: Settings, metrics: Metrics, serving: Serving) -> ASGIApp:
    """Raises StartError."""
    app = FastAPIOffline(  # FastAPI whose documentation page needs no other host
        title="Digits",
        version=version("digits"),
        description=DESCRIPTION,
        redoc_url=None,
        lifespan=lifespan.build(settings, metrics, serving),
    )
    for part in (predictions, models, retraining, feedback, health):
        app.include_router(part.router)
    app.add_exception_handler(DigitsError, problems.on_digits_error)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(RequestValidationError, problems.on_validation_error)
    app.add_exception_handler(Exception, problems.on_unexpected)
    described = app.openapi
    app.openapi = lambda: examples.add_replies(described())  # type: ignore[method-assign]  # the framework's own way
    app.add_api_route("/", lambda: RedirectResponse("/docs"), include_in_schema=False)
    # Around the framework, not within: as its own middleware they would have three of its layers around them.
    return Access(Direct(app, predictions.router))
