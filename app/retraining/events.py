"""Tells all event streams of a process that there are new events."""

import asyncio
import contextlib
from collections.abc import Iterator

from app.errors import DatabaseUnavailable, Overloaded
from app.retraining.jobs import Jobs

# Each holds a connection, and clients come back by themselves.
MAX_STREAMS = 100

POLL_SECONDS = 0.25


class EventFeed:
    """Asks the database for the newest event, once for all streams, and only while there are any."""

    def __init__(self, jobs: Jobs) -> None:
        """Start without streams."""
        self._jobs = jobs
        self._streams = 0
        self._changed = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None

    def admit(self) -> None:
        """Raises Overloaded where there are MAX_STREAMS already."""
        if self._streams >= MAX_STREAMS:
            raise Overloaded()

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """Count a stream, and look for events, while it runs."""
        self._streams += 1
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())
        try:
            yield
        finally:
            self._streams -= 1
            if not self._streams:
                self._polling.cancel()
                self._polling = None

    def changed(self) -> asyncio.Event:
        """Set at the next change. Take it before you read, so that nothing is missed in between."""
        return self._changed

    async def _poll(self) -> None:
        newest = -1
        while True:
            with contextlib.suppress(DatabaseUnavailable):
                found = await asyncio.to_thread(self._jobs.newest_event)
                if found != newest:
                    newest, before, self._changed = found, self._changed, asyncio.Event()
                    before.set()
            await asyncio.sleep(POLL_SECONDS)
