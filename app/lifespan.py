"""Composition root: builds everything that runs, and stops it."""

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FrameType
from typing import Any

from fastapi import FastAPI

from app.database import Database
from app.errors import DatabaseUnavailable, StartError
from app.http import admin
from app.http.bodies import Bodies
from app.http.decoders import Decoders
from app.http.dependencies import State
from app.http.express import Express
from app.http.metrics import Metrics
from app.inference.serving import Serving
from app.retraining.feedback import Feedback
from app.retraining.jobs import Jobs
from app.retraining.supervisor import supervise
from app.settings import Settings

_log = logging.getLogger("digits")


def build(
    settings: Settings, metrics: Metrics, serving: Serving
) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    """The lifespan; it closes what serves. Raises StartError."""
    token = admin.digest(settings)
    try:
        base = Database(settings.database())
    except DatabaseUnavailable as error:  # not known here, or without its driver; one that is away is waited for
        raise StartError(str(error)) from None

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        decoders = Decoders(settings.threads, settings.deadline)
        tasks = [asyncio.create_task(serving.watch()), asyncio.create_task(asyncio.to_thread(_migrate, base))]
        if settings.worker == "embedded":
            tasks.append(asyncio.create_task(supervise(settings)))
        try:
            yield State(
                settings=settings,
                serving=serving,
                bodies=Bodies(),
                decoders=decoders,
                express=Express(serving, metrics, settings.deadline),
                metrics=metrics,
                jobs=Jobs(base, settings.lease),
                feedback=Feedback(base),
                stopping=_on_sigterm(),
                admin=token,
            )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            decoders.close()
            base.close()
            serving.close()

    return lifespan


def _migrate(base: Database) -> None:
    """Before the first call that needs it, where the database answers; else that call tries again."""
    with contextlib.suppress(DatabaseUnavailable):
        base.migrate()


def _on_sigterm() -> asyncio.Event:
    """Set when the web server is told to end. It waits for replies to end, so an endless one must hear of it."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hear(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stopping.set)
        before = handlers[number]
        if callable(before):
            before(number, frame)

    if threading.current_thread() is not threading.main_thread():
        return stopping  # not run by a web server of its own
    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for number in handlers:
        signal.signal(number, hear)
    return stopping
