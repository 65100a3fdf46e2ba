"""The version that serves in this process, and how another one takes its place without a failed request."""

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from app.errors import ModelError, NotWritable, VersionNotFound, VersionUnusable
from app.inference.batcher import Batcher
from app.inference.ensemble import load_version
from app.registry import store
from app.registry.manifest import Manifest

_log = logging.getLogger("digits")

# To look at CURRENT and the files that it names takes a tenth of a millisecond.
POLL_SECONDS = 0.25
RETRY_SECONDS = 30.0


class Observer(Protocol):
    """Counts what happens. ``batch`` and ``load_failed`` come from other threads than the event loop's, too."""

    def batch(self, images: int) -> None: ...
    def serving(self, name: str, version: int) -> None: ...
    def behind(self) -> None: ...
    def load_failed(self) -> None: ...


@dataclass(frozen=True)
class LoadedModel:
    """A version with its running networks. A request takes one and keeps it to its end."""

    manifest: Manifest
    batcher: Batcher


@dataclass(frozen=True)
class LoadError:
    """Why the version that CURRENT names does not serve.

    Attributes:
        version: None where CURRENT names none.
        reason: For everybody to read; paths begin below the models' folder.
    """

    version: int | None
    reason: str


@dataclass(frozen=True)
class TargetVersion:
    """What is to serve, as the disk has it. Two looks are compared to notice a change.

    Attributes:
        version: None where CURRENT names none.
        error: What is wrong with CURRENT then.
        files: Inode, time of change and size of each file of the version, None for one that is missing.
    """

    version: int | None
    error: str = ""
    files: tuple[tuple[int, int, int] | None, ...] = ()


class ModelManager:
    """Holds the version that serves and follows CURRENT, as all processes do.

    Nobody closes the version that served before: a request that has it may still call it, and it goes with the last
    reference.

    Attributes:
        model: The version that serves. It changes on the event loop only.
        load_error: Why the version that CURRENT names does not serve, or None.
    """

    def __init__(self, folder: Path, threads: int, observer: Observer, max_waiting: float = math.inf) -> None:
        """Load what CURRENT names.

        Args:
            folder: Of the versions and CURRENT.
            threads: Threads of one run of a network.
            observer: Told of batches, swaps and failures.
            max_waiting: Most images that wait for the network.

        Raises:
            ModelError: It names the file and the reason.
        """
        self._folder, self._threads, self._observer, self._max_waiting = folder, threads, observer, max_waiting
        self._target = self._look()
        self._retry_at = 0.0
        self._changing = asyncio.Lock()  # one change at a time
        self.load_error: LoadError | None = None
        self.model = self._load(self._target)
        observer.serving(self.model.manifest.name, self.model.manifest.version)

    async def watch(self) -> None:
        """Follow CURRENT until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self._follow()
            except Exception:  # a watcher that ended unseen would leave the old version serving for ever
                _log.exception("looking for another version failed")

    async def activate(self, number: int) -> Manifest:
        """Let a version serve: here at once, in the other processes as soon as they see CURRENT.

        Raises:
            VersionNotFound: There is none.
            VersionUnusable: It does not load; the version before goes on.
            NotWritable: CURRENT cannot be replaced; the version before goes on.
        """
        async with self._changing:
            target, model = await asyncio.to_thread(self._prepare, number)
            try:
                await asyncio.to_thread(store.activate, self._folder, number)
            except store.VersionError as error:
                raise VersionUnusable(self._relative(error)) from None
            except OSError as error:
                reason = (error.strerror or "it failed").lower()
                raise NotWritable(
                    f"CURRENT cannot be replaced: {reason}; let the service write the models' folder"
                ) from None
            # Not a new look: somebody may have replaced CURRENT since, and the next look must notice.
            self._target = target
            self._swap(model)
        return model.manifest

    async def _follow(self) -> None:
        async with self._changing:
            target = await asyncio.to_thread(self._look)
            if target == self._target and (self.load_error is None or time.monotonic() < self._retry_at):
                return
            self._target = target
            self._observer.behind()
            try:
                model = await asyncio.to_thread(self._load, target)
            except ModelError as error:
                self._fail(LoadError(target.version, self._relative(error)), error)
            except Exception as error:  # whatever it is, what serves goes on
                self._fail(LoadError(target.version, "it does not load; the log of the service says why"), error)
            else:
                self._swap(model)

    def _swap(self, model: LoadedModel) -> None:
        self.load_error, self.model = None, model
        self._observer.serving(model.manifest.name, model.manifest.version)
        _log.info(f"version {model.manifest.version} serves")

    def _fail(self, load_error: LoadError, error: Exception) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS
        if load_error != self.load_error:  # logged once, not at every attempt
            traceback = None if isinstance(error, ModelError) else error
            _log.error(f"version {self.model.manifest.version} goes on serving: {error}", exc_info=traceback)
        self.load_error = load_error

    def _look(self) -> TargetVersion:
        try:
            number = store.current(self._folder)
        except store.VersionError as error:
            return TargetVersion(None, error=str(error))
        return self._target_of(number)

    def _target_of(self, number: int) -> TargetVersion:
        path = self._folder / str(number)
        return TargetVersion(number, files=tuple(_mark(path / name) for name in (store.MANIFEST, *store.ARTIFACTS)))

    def _prepare(self, number: int) -> tuple[TargetVersion, LoadedModel]:
        _require(self._folder, number)
        target = self._target_of(number)
        try:
            return target, self._load(target)
        except ModelError as error:
            raise VersionUnusable(self._relative(error)) from None

    def _load(self, target: TargetVersion) -> LoadedModel:
        try:
            if target.version is None:
                raise ModelError(target.error)
            manifest, cascade = load_version(self._folder / str(target.version), self._threads)
        except Exception:
            self._observer.load_failed()
            raise
        return LoadedModel(manifest, Batcher(cascade, self._observer.batch, self._max_waiting))

    def _relative(self, error: Exception) -> str:
        return str(error).replace(f"{self._folder}/", "")


def manifests(folder: Path) -> list[Manifest]:
    """The cards of all versions on disk that can be read, lowest first."""
    found = []
    for number in store.numbers(folder):
        try:
            found.append(store.read_manifest(folder / str(number)))
        except store.VersionError:
            continue  # a damaged version is no reason to hide the others
    return found


def manifest(folder: Path, number: int) -> Manifest:
    """The card of one version. Raises VersionNotFound, or ModelError where it is damaged."""
    _require(folder, number)
    try:
        return store.read_manifest(folder / str(number))
    except store.VersionError as error:
        raise ModelError(str(error)) from None


def _require(folder: Path, number: int) -> None:
    """Raises VersionNotFound where no version has this number."""
    found = store.numbers(folder)
    if number not in found:
        known = ", ".join(map(str, found)) or "none"
        raise VersionNotFound(f"there is no version {number}; there are: {known}")


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
