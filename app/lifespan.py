"""Composition root: builds everything that runs, and stops it."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FrameType
from typing import Any

from app.framework import Framework
from app.http import token
from app.http.bodies import Bodies
from app.http.decoders import Decoders
from app.http.express import Express
from app.http.metrics import Metrics
from app.http.state import State
from app.inference.serving import Serving
from app.retraining.supervisor import supervise
from app.settings import Settings


def build(
    settings: Settings, metrics: Metrics, serving: Serving, framework: Framework
) -> Callable[[Any], AbstractAsyncContextManager[State]]:
    """The lifespan; it closes what serves."""
    admin = token.expected(settings)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[State]:
        decoders = Decoders(settings.threads, settings.deadline)
        framework.begin()
        tasks = [asyncio.create_task(serving.watch())]
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
                stopping=_on_sigterm(),
                admin=admin,
            )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            decoders.close()
            await framework.close()
            serving.close()

    return lifespan


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
