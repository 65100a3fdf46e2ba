"""Calls a function that costs less for many items at once than for each alone."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class MicroBatcher(Generic[T, U]):
    """Calls a function once for all items that were submitted in the same turn of the event loop."""

    def __init__(self, function: Callable[[Sequence[T]], Sequence[U]]) -> None:
        """Wrap a function.

        Args:
            function: Gives one result for each item, within a millisecond, since it runs on the event loop.
        """
        self._function = function
        self._waiting: list[tuple[T, asyncio.Future[U]]] = []

    def submit(self, item: T) -> asyncio.Future[U]:
        """Queue an item and return the future of its result."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._run)
        future: asyncio.Future[U] = loop.create_future()
        self._waiting.append((item, future))
        return future

    def _run(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            results = self._function([item for item, _ in waiting])
        except Exception as error:
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(waiting, results, strict=True):
            if not future.done():
                future.set_result(result)
