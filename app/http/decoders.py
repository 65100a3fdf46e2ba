"""The threads that make sense of bodies and pictures, beside the event loop."""

import asyncio
import math
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from app.errors import Overloaded, TooLate

T = TypeVar("T")

# Bytes of bodies that wait for a thread, and are kept in memory meanwhile.
MOST_WAITING = 64 * 2**20


# How far the decoding threads stand back: they get a third of what others get of a core that several want. A lone digit
# is read on the event loop, which waits less then while photos are decoded.
NICE = 5


class Decoders:
    """Runs functions in threads, in the order in which they come, from one event loop.

    What waits is bounded: in size, and in time.
    """

    def __init__(self, threads: int, deadline: float, most_waiting: int = MOST_WAITING) -> None:
        """deadline: seconds that a call may wait for its turn. most_waiting: bytes."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode", initializer=_stand_back)
        self._threads, self._deadline, self._most_waiting = threads, deadline, most_waiting
        self._calls = self._bytes = 0  # that wait or run; only the event loop changes them

    @property
    def congested(self) -> bool:
        """Whether a new call would have to wait."""
        return self._calls > self._threads

    def submit(self, function: Callable[[], T], size: int, *, begun: bool = False) -> asyncio.Future[T]:
        """The function's result to come. Cancelled before its turn, it is not run.

        size: bytes of the request's body that it works on. begun: it goes on with what an earlier call has begun, so it
        is neither refused nor late. Raises Overloaded; the result is TooLate where the turn came after the deadline.
        """
        if not begun and self._bytes and self._bytes + size > self._most_waiting:
            raise Overloaded()
        latest = math.inf if begun else time.monotonic() + self._deadline

        def run() -> T:
            if time.monotonic() > latest:
                raise TooLate()
            return function()

        def done(_: asyncio.Future[T]) -> None:
            self._calls -= 1
            self._bytes -= size

        result = asyncio.get_running_loop().run_in_executor(self._pool, run)
        self._calls += 1
        self._bytes += size
        result.add_done_callback(done)
        return result

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        self._pool.shutdown()


def _stand_back() -> None:
    if sys.platform == "linux":
        os.nice(NICE)  # of this thread alone, there
