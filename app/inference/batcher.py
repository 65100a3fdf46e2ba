"""Gathers what arrives while the engine runs into the next batch."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from app.inference.engine import Engine, Images, Probabilities


class Batcher:
    """Feeds an engine from one event loop, in one thread of its own.

    The engine blocks, so it must not run on the event loop; it is not for two threads at once, so there is
    exactly one. No timer: a lone request runs at once, and what comes meanwhile forms the next batch.
    """

    def __init__(self, engine: Engine, limit: int, observe: Callable[[int], None] = lambda size: None) -> None:
        """limit: most images in one run of the engine. observe: told the size of every run."""
        self._engine, self._limit, self._observe = engine, limit, observe
        self._waiting: deque[tuple[Images, asyncio.Future[Probabilities]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._running: asyncio.Task[None] | None = None

    async def predict(self, images: Images) -> Probabilities:
        """uint8 (n, 28, 28) to float32 (n, 10). More than the limit go through in several runs."""
        loop = asyncio.get_running_loop()
        parts: list[asyncio.Future[Probabilities]] = []
        for start in range(0, len(images), self._limit):
            parts.append(loop.create_future())
            self._waiting.append((images[start : start + self._limit], parts[-1]))
        if self._running is None:
            self._running = loop.create_task(self._drain())
        results = await asyncio.gather(*parts)
        return results[0] if len(results) == 1 else np.concatenate(results)

    def close(self) -> None:
        """Let the run in progress end, and the thread with it."""
        self._thread.shutdown()

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch = self._next()
                try:
                    images = np.concatenate([part for part, _ in batch]) if len(batch) > 1 else batch[0][0]
                    self._observe(len(images))
                    probabilities = await loop.run_in_executor(self._thread, self._engine.predict, images)
                except Exception as error:  # whatever the runtime raises belongs to the waiting requests
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    continue
                start = 0
                for part, future in batch:
                    if not future.done():
                        future.set_result(probabilities[start : start + len(part)])
                    start += len(part)
        finally:
            self._running = None

    def _next(self) -> list[tuple[Images, asyncio.Future[Probabilities]]]:
        batch = [self._waiting.popleft()]
        size = len(batch[0][0])
        while self._waiting and size + len(self._waiting[0][0]) <= self._limit:
            batch.append(self._waiting.popleft())
            size += len(batch[-1][0])
        return batch
