"""Waiting for what can be observed."""

import asyncio
import time
from collections.abc import Callable

# Only a test that fails waits for so long.
TIMEOUT_SECONDS = 60

POLL_SECONDS = 0.02


def wait_for(condition: Callable[[], bool], what: str, seconds: float = TIMEOUT_SECONDS) -> None:
    """Wait until a condition holds.

    Args:
        condition: Is asked again and again.
        what: What is waited for; told where it does not come.
        seconds: How long at most.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"still no sign of {what}"
        time.sleep(POLL_SECONDS)


async def until(condition: Callable[[], bool], what: str) -> None:
    """The same on an event loop, which goes on meanwhile."""
    end = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"still no sign of {what}"
        await asyncio.sleep(POLL_SECONDS / 10)
