"""Wakes all event streams of a process when there are new events."""

import asyncio
import contextlib
from collections.abc import Iterator

from app.errors import DatabaseUnavailable, Overloaded
from app.retraining.jobs import Jobs

# Each stream holds a connection. Clients that are refused connect again by themselves.
MAX_STREAMS = 100

POLL_SECONDS = 0.25


class EventFeed:
    """Polls the database for the newest event, once for all streams, and only while there are any."""

    def __init__(self, jobs: Jobs) -> None:
        """Start without streams."""
        self._jobs = jobs
        self._streams = 0
        self._changed = asyncio.Event()
        self._poll_task: asyncio.Task[None] | None = None

    def admit(self) -> None:
        """Check that one more stream may start.

        Raises:
            Overloaded: There are MAX_STREAMS already.
        """
        if self._streams >= MAX_STREAMS:
            raise Overloaded()

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """Count a stream while it runs, and poll for events."""
        self._streams += 1
        if self._poll_task is None:
            self._poll_task = asyncio.create_task(self._poll())
        try:
            yield
        finally:
            self._streams -= 1
            if not self._streams:
                self._poll_task.cancel()
                self._poll_task = None

    def changed(self) -> asyncio.Event:
        """Return an event that the next change sets. Call this before reading, so that no change is missed."""
        return self._changed

    async def _poll(self) -> None:
        newest = -1
        while True:
            with contextlib.suppress(DatabaseUnavailable):
                event_id = await asyncio.to_thread(self._jobs.newest_event)
                if event_id != newest:
                    newest, changed, self._changed = event_id, self._changed, asyncio.Event()
                    changed.set()
            await asyncio.sleep(POLL_SECONDS)
