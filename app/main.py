"""The application. Run it with ``uvicorn --factory app.main:create_app``."""

import logging
import sys
from concurrent.futures import ThreadPoolExecutor

from pydantic import ValidationError
from starlette.types import ASGIApp

from app import logs
from app.errors import ModelError, StartError
from app.http.metrics import Metrics
from app.inference.engine import runtime
from app.inference.serving import Serving
from app.settings import Settings, faults

# Seconds that a thread works in Python before it lets another one do so. With Python's own number, 0.005, the version's
# load, which is a hundred short calls of the runtime, would wait that long for the imports after each of them.
TURN = 0.0005


def create_app(settings: Settings | None = None) -> ASGIApp:
    """The whole service, ready to be served.

    Without settings, as the web server calls it, they come from the environment, and what the operator has to
    mend ends the process with one line and status 1. With settings it raises ModelError instead.
    """
    if settings is not None:
        return _build(settings)
    logs.configure()
    try:
        return _build(Settings.from_environment())
    except ValidationError as error:
        logging.getLogger("digits").critical(faults(error))
    except (ModelError, StartError) as error:
        logging.getLogger("digits").critical(str(error))
    sys.exit(1)


def _build(settings: Settings) -> ASGIApp:
    """The version is loaded beside the import of the framework, which takes twice as long: neither waits for the other.

    Both come before the web server begins the lifespan, because it ends with its own status and a traceback when that
    fails, and an operator should see one line.
    """
    metrics = Metrics()
    runtime()  # in this thread, which stays
    before = sys.getswitchinterval()
    sys.setswitchinterval(TURN)
    try:
        with ThreadPoolExecutor(1) as beside:
            loading = beside.submit(Serving, settings.models, settings.threads, metrics, settings.max_waiting)
            from app import application
        return application.build(settings, metrics, loading.result())
    finally:
        sys.setswitchinterval(before)
