"""The application. Run it with ``uvicorn --factory app.main:create_app``."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pydantic import ValidationError

from app import logs, turns
from app.errors import ModelError, StartError
from app.inference.engine import runtime
from app.inference.serving import Serving
from app.settings import Settings, faults

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def create_app(settings: Settings | None = None) -> "ASGIApp":
    """The whole service, ready to be served.

    Without settings, as the web server calls it, they come from the environment, and what the operator has to
    mend ends the process with one line and status 1. With settings it raises ModelError or StartError instead.
    """
    return begin()() if settings is None else _begin(settings)()


def begin() -> "Callable[[], ASGIApp]":
    """Start to load what the environment asks for, while the caller imports what it needs; the service comes with the
    call of what this returns. What the operator has to mend ends the process with one line and status 1.
    """
    logs.configure()
    with _told_in_one_line():
        finish = _begin(Settings.from_environment())

    def app() -> "ASGIApp":
        with _told_in_one_line():
            return finish()

    return app


@contextlib.contextmanager
def _told_in_one_line() -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        logging.getLogger("digits").critical(faults(error))
    except (ModelError, StartError) as error:
        logging.getLogger("digits").critical(str(error))
    else:
        return
    sys.exit(1)


def _begin(settings: Settings) -> "Callable[[], ASGIApp]":
    """The version is loaded beside the import of what answers requests: neither waits for the other.

    Both come before the web server begins the lifespan, because it ends with its own status and a traceback when that
    fails, and an operator should see one line.
    """
    runtime()  # in this thread, which stays
    meanwhile = contextlib.ExitStack()
    meanwhile.enter_context(turns.short())
    beside = meanwhile.enter_context(ThreadPoolExecutor(1))
    loading = beside.submit(Serving, settings.models, settings.threads, settings.max_waiting)

    def finish() -> "ASGIApp":
        with meanwhile:
            from app import service
            from app.framework import Framework
            from app.http.metrics import Metrics

            metrics, framework = Metrics(), Framework(settings)
            try:
                return service.build(settings, metrics, loading.result(), framework)
            except ModelError:
                metrics.load_failed()  # what several processes count outlives this one
                raise

    return finish
