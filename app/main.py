"""The application. Run it with ``uvicorn --factory app.main:create_app``."""

import logging
import sys
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from app import lifespan, logs
from app.errors import DigitsError, ModelError
from app.http import health, models, predictions, problems
from app.http.access import Access
from app.settings import Settings

DESCRIPTION = """Reads handwritten digits. Send a picture, get a digit with ten probabilities:

    curl -F file=@seven.png http://127.0.0.1:8000/predict

Errors are `application/problem+json`; their `detail` says what to do."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """The whole service, ready to be served.

    Without settings, as the web server calls it, they come from the environment, and what the operator has to
    mend ends the process with one line and status 1. With settings it raises ModelError instead.
    """
    if settings is not None:
        return _build(settings)
    logs.configure()
    try:
        return _build(Settings())
    except ValidationError as error:
        faults = [f"DIGITS_{'.'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in error.errors()]
        logging.getLogger("digits").critical("; ".join(faults))
    except ModelError as error:
        logging.getLogger("digits").critical(str(error))
    sys.exit(1)


def _build(settings: Settings) -> FastAPI:
    app = FastAPIOffline(  # FastAPI whose documentation page needs no other host
        title="Digits",
        version=version("digits"),
        description=DESCRIPTION,
        redoc_url=None,
        lifespan=lifespan.build(settings),
    )
    for part in (predictions, models, health):
        app.include_router(part.router)
    app.add_exception_handler(DigitsError, problems.on_digits_error)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(RequestValidationError, problems.on_validation_error)
    app.add_middleware(Access)
    app.add_api_route("/", lambda: RedirectResponse("/docs"), include_in_schema=False)
    return app
