"""The threads that parse bodies and decode pictures, beside the event loop."""

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
MAX_WAITING_BYTES = 64 * 2**20

# A picture with more pixels takes 40 to 360 MB while it is decoded.
LARGE_PIXELS = 4_000_000

# The threads get a third of what others get of a core that several want: the event loop waits less while photos are
# decoded.
NICENESS = 5


class DecodePool:
    """Runs functions in threads, in the order in which they come, for one event loop.

    What waits is bounded, in size and in time. Large pictures have a thread of their own, so that one is decoded at a
    time, and the C library keeps the memory of one for the next.
    """

    def __init__(self, threads: int, deadline: float, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        """Start the threads.

        Args:
            threads: How many.
            deadline: Seconds that a call may wait for its turn.
            max_waiting_bytes: Bytes of all calls that wait or run.
        """
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode", initializer=_be_nice)
        self._large_pool = ThreadPoolExecutor(1, thread_name_prefix="decode-large", initializer=_be_nice)
        self._threads, self._deadline, self._max_waiting_bytes = threads, deadline, max_waiting_bytes
        self._calls = self._bytes = 0  # that wait or run; only the event loop changes them

    @property
    def congested(self) -> bool:
        """Whether a new call would have to wait."""
        return self._calls > self._threads

    async def run(self, function: Callable[[], T], size: int, *, large: bool = False, begun: bool = False) -> T:
        """Run a function in a thread. Cancelled before its turn, it does not run.

        Args:
            function: Needs no more than a few milliseconds, but for large pictures.
            size: Bytes that it works on.
            large: Whether it decodes a large picture.
            begun: Whether it goes on with what an earlier call has begun, so that it is neither refused nor late.

        Raises:
            Overloaded: Too many bytes wait.
            TooLate: Its turn came after the deadline.
        """
        if not begun and self._bytes and self._bytes + size > self._max_waiting_bytes:
            raise Overloaded()
        latest = math.inf if begun else time.monotonic() + self._deadline

        def call() -> T:
            if time.monotonic() > latest:
                raise TooLate()
            return function()

        self._calls += 1
        self._bytes += size
        try:
            pool = self._large_pool if large else self._pool
            return await asyncio.get_running_loop().run_in_executor(pool, call)
        finally:
            self._calls -= 1
            self._bytes -= size

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        self._pool.shutdown()
        self._large_pool.shutdown()


def _be_nice() -> None:
    if sys.platform == "linux":
        os.nice(NICENESS)  # of this thread alone, there
