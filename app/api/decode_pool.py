"""Threads that parse bodies and decode pictures, off the event loop."""

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

# Most bytes of the bodies that wait for a thread or are worked on.
MAX_WAITING_BYTES = 64 * 2**20

# A picture with more pixels than this takes 40 to 360 MB while it is decoded.
LARGE_PIXELS = 4_000_000

# The threads' niceness. They get a third of the event loop's share of a busy core, so that it waits less for them.
NICENESS = 5


class DecodePool:
    """Runs functions in threads, first come, first served, for one event loop.

    The queue is limited in bytes, and the wait in time. Large pictures share one thread of their own, so that one is
    decoded at a time, and the C library reuses its memory for the next.
    """

    def __init__(self, threads: int, deadline: float, max_waiting_bytes: int = MAX_WAITING_BYTES) -> None:
        """Start the threads.

        Args:
            threads: Number of threads for all other calls.
            deadline: Longest wait for a thread, in seconds.
            max_waiting_bytes: Most bytes of all calls that wait or run.
        """
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode", initializer=_be_nice)
        self._large_pool = ThreadPoolExecutor(1, thread_name_prefix="decode-large", initializer=_be_nice)
        self._threads, self._deadline, self._max_waiting_bytes = threads, deadline, max_waiting_bytes
        self._calls = self._bytes = 0  # of calls that wait or run; changed on the event loop only

    @property
    def congested(self) -> bool:
        """Whether a new call would have to wait."""
        return self._calls > self._threads

    async def run(self, function: Callable[[], T], size: int, *, large: bool = False, admitted: bool = False) -> T:
        """Run a function in a thread. If the call is cancelled while it waits, the function does not run.

        Args:
            function: Takes no more than a few milliseconds, except for large pictures.
            size: Bytes that it works on.
            large: Whether it decodes a large picture.
            admitted: Whether an earlier call for the same request has run. Then neither limit applies.

        Returns:
            The function's result.

        Raises:
            Overloaded: Too many bytes wait.
            TooLate: The deadline passed while the call waited.
        """
        if not admitted and self._bytes and self._bytes + size > self._max_waiting_bytes:
            raise Overloaded()
        latest = math.inf if admitted else time.monotonic() + self._deadline

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
        """Wait for the calls, and end the threads."""
        self._pool.shutdown()
        self._large_pool.shutdown()


def _be_nice() -> None:
    if sys.platform == "linux":
        os.nice(NICENESS)  # on Linux, of the calling thread only
