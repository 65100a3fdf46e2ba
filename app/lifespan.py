"""Composition root: builds everything that runs, and stops it."""

from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI

from app.http.dependencies import State
from app.http.metrics import Metrics
from app.inference import live
from app.settings import Settings


def build(settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    """Load and warm the version that serves. Raises ModelError when it cannot be served.

    Done before the lifespan begins, because a web server ends with its own status and a traceback when a
    lifespan fails, and an operator should see one line.
    """
    metrics = Metrics()
    serving = live.start(settings.models, settings.threads, metrics.batch)
    metrics.serving(serving.card.name, serving.card.version)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        decoders = ThreadPoolExecutor(settings.threads, thread_name_prefix="decode")
        try:
            yield State(settings=settings, live=serving, decoders=decoders, metrics=metrics)
        finally:
            decoders.shutdown()
            serving.batcher.close()

    return lifespan
