"""What serves in this process, and how another version takes its place without a failed request."""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from app.errors import ModelError, NotWritable, VersionUnusable
from app.inference.live import Live, load, require
from training import versions
from training.card import Card

T = TypeVar("T")

_log = logging.getLogger("digits")

# Seconds. A look at CURRENT and the files it names takes a tenth of a millisecond.
LOOK_EVERY = 0.25
RETRY_EVERY = 30.0


class Observer(Protocol):
    """Told what happens, to count it; ``batch`` and ``load_failed`` from other threads than the event loop's."""

    def batch(self, images: int) -> None: ...
    def serving(self, name: str, version: int) -> None: ...
    def behind(self) -> None: ...
    def load_failed(self) -> None: ...


@dataclass(frozen=True)
class Fault:
    """Why what CURRENT names does not serve.

    version: None where CURRENT names none. reason: for everybody to read; paths begin below the models' folder.
    """

    version: int | None
    reason: str


@dataclass(frozen=True)
class Wanted:
    """What is to serve, as the disk has it.

    version: None where CURRENT names none; then nonsense says what is wrong with it. files: inode, time of change
    and size of each of the version's files, None for one that is missing; these are compared with an earlier look.
    """

    version: int | None
    nonsense: str = ""
    files: tuple[tuple[int, int, int] | None, ...] = ()


class Serving:
    """The version that serves in this process; it follows CURRENT, and so do all processes.

    ``live`` is the version, which a request takes once and keeps; ``fault`` is None, or why CURRENT's does not
    serve. Both change on the event loop only. Nobody closes the version that was before: whoever still has it may
    yet call it, and when the last one lets go its batcher ends by itself.
    """

    def __init__(self, folder: Path, threads: int, most_waiting: float = math.inf) -> None:
        """Loads what CURRENT names. most_waiting: images. Raises ModelError that names the file and the reason."""
        self._folder, self._threads, self._most_waiting = folder, threads, most_waiting
        self._observer: Observer | None = None
        self._seen = self._look()
        self._retry_at = 0.0
        self.fault: Fault | None = None
        self.live = self._load(self._seen, hurry=True)
        self._changing = asyncio.Lock()  # one change at a time
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="load")

    def tell(self, observer: Observer) -> None:
        """What serves, now, and whatever happens from now on. The first load does not wait for one who counts."""
        self._observer = observer
        observer.serving(self.live.card.name, self.live.card.version)

    async def watch(self) -> None:
        """Follow CURRENT until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self._follow()
            except Exception:  # a watcher that ended unseen would leave the old version serving for ever
                _log.exception("looking for another version failed")

    async def activate(self, number: int) -> Card:
        """Let a version serve: here at once, in the other processes as soon as they see CURRENT.

        Raises VersionNotFound, VersionUnusable when it does not load, NotWritable; what served goes on then.
        """
        async with self._changing:
            wanted, live = await self._in_thread(lambda: self._prepare(number))
            try:
                await self._in_thread(lambda: versions.activate(self._folder, number))
            except versions.VersionError as error:
                raise VersionUnusable(self._told(error)) from None
            except OSError as error:
                reason = (error.strerror or "it failed").lower()
                raise NotWritable(
                    f"CURRENT cannot be replaced: {reason}; let the service write the models' folder"
                ) from None
            # Not a new look: somebody may have replaced CURRENT since, and the next look must notice.
            self._seen = wanted
            self._swap(live)
        return live.card

    def close(self) -> None:
        """Wait for the load and the batch that run, and end their threads."""
        self._thread.shutdown()
        self.live.batcher.close()

    async def _follow(self) -> None:
        async with self._changing:
            wanted = await self._in_thread(self._look)
            if wanted == self._seen and (self.fault is None or time.monotonic() < self._retry_at):
                return
            self._seen = wanted
            if self._observer:
                self._observer.behind()
            try:
                live = await self._in_thread(lambda: self._load(wanted))
            except ModelError as error:
                self._fail(Fault(wanted.version, self._told(error)), error)
            except Exception as error:  # whatever it is, what serves goes on
                self._fail(Fault(wanted.version, "it does not load; the log of the service says why"), error)
            else:
                self._swap(live)

    def _swap(self, live: Live) -> None:
        self.fault, self.live = None, live
        if self._observer:
            self._observer.serving(live.card.name, live.card.version)
        _log.info(f"version {live.card.version} serves")

    def _fail(self, fault: Fault, error: Exception) -> None:
        self._retry_at = time.monotonic() + RETRY_EVERY
        if fault != self.fault:  # told once, not at every attempt
            traceback = None if isinstance(error, ModelError) else error
            _log.error(f"version {self.live.card.version} goes on serving: {error}", exc_info=traceback)
        self.fault = fault

    def _look(self) -> Wanted:
        try:
            number = versions.current(self._folder)
        except versions.VersionError as error:
            return Wanted(None, nonsense=str(error))
        return self._wanted(number)

    def _wanted(self, number: int) -> Wanted:
        path = self._folder / str(number)
        return Wanted(number, files=tuple(_mark(path / name) for name in (versions.CARD, *versions.ARTIFACTS)))

    def _prepare(self, number: int) -> tuple[Wanted, Live]:
        require(self._folder, number)
        wanted = self._wanted(number)
        try:
            return wanted, self._load(wanted)
        except ModelError as error:
            raise VersionUnusable(self._told(error)) from None

    def _load(self, wanted: Wanted, *, hurry: bool = False) -> Live:
        try:
            if wanted.version is None:
                raise ModelError(wanted.nonsense)
            return load(self._folder, wanted.version, self._threads, self._ran, self._most_waiting, hurry=hurry)
        except Exception:
            if self._observer:
                self._observer.load_failed()
            raise

    def _ran(self, images: int) -> None:
        if self._observer:
            self._observer.batch(images)

    def _told(self, error: Exception) -> str:
        return str(error).replace(f"{self._folder}/", "")

    async def _in_thread(self, function: Callable[[], T]) -> T:
        """Off the event loop, where predictions go on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
