"""The web framework, and the database that only its calls need: they come while the first predictions are answered."""

import asyncio
import contextlib
import gc
import logging
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from app import turns
from app.errors import DatabaseUnavailable, StartError
from app.http.state import Records
from app.settings import Settings

if TYPE_CHECKING:
    from app.database import Database

_log = logging.getLogger("digits")


class Framework:
    """The application behind the short ways, as an ASGI application whose requests wait until it is there.

    To import FastAPI and SQLAlchemy takes as long as all that a prediction needs.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises StartError where the operator names a database that cannot be."""
        self._settings = settings
        self._base = None if settings.database_url is None else _database(settings)
        self._loading: asyncio.Task[tuple[ASGIApp, Records]] | None = None
        self._migrating: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Load it, beside the event loop that runs."""
        self._loading = self._begun()
        self._migrating = asyncio.create_task(self._migrate(self._loading))

    async def close(self) -> None:
        """Wait for the load, and let go of the database."""
        assert self._loading
        assert self._migrating
        self._migrating.cancel()
        await asyncio.wait([self._loading, self._migrating])
        if self._base:
            self._base.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._loading
        if self._loading.done() and self._loading.exception():  # no files were left, or no memory; by now there may be
            self._loading = self._begun()
        app, records = await asyncio.shield(self._loading)  # at its end the server cancels requests, not the load
        scope["state"].update(records)
        scope.pop("router", None)  # that of ``service``; the framework sets its own where there is none
        await app(scope, receive, send)

    def _begun(self) -> "asyncio.Task[tuple[ASGIApp, Records]]":
        return asyncio.create_task(asyncio.to_thread(self._load))

    async def _migrate(self, loading: "asyncio.Task[tuple[ASGIApp, Records]]") -> None:
        """Before the first call that needs it, where the database answers; else that call tries again."""
        await asyncio.wait([loading])
        if self._base:
            with contextlib.suppress(DatabaseUnavailable):
                await asyncio.to_thread(self._base.migrate)

    def _load(self) -> tuple[ASGIApp, Records]:
        try:
            return self._built()
        except Exception:
            _log.exception("only predictions, health and metrics are answered")
            raise

    def _built(self) -> tuple[ASGIApp, Records]:
        with turns.short():
            from app import application
            from app.retraining.feedback import Feedback
            from app.retraining.jobs import Jobs

            base = self._base = self._base or _database(self._settings)
            app = application.build()
        if gc.get_freeze_count():  # what was imported before is, see server.py
            gc.freeze()
        return app, {"jobs": Jobs(base, self._settings.lease), "feedback": Feedback(base)}


def _database(settings: Settings) -> "Database":
    from app.database import Database

    try:
        return Database(settings.database())
    except DatabaseUnavailable as error:  # not known here, or without its driver; one that is away is waited for
        raise StartError(str(error)) from None
