"""Holds the version that serves in this process, and replaces it without a failed request."""

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

# One poll of CURRENT and the files of its version takes 0.1 ms.
POLL_SECONDS = 0.25
RETRY_SECONDS = 30.0


class Observer(Protocol):
    """Counts events. ``batch`` and ``load_failed`` are also called from threads."""

    def batch(self, images: int) -> None: ...
    def serving(self, name: str, version: int) -> None: ...
    def behind(self) -> None: ...
    def load_failed(self) -> None: ...


@dataclass(frozen=True)
class LoadedModel:
    """A version that is loaded. A request uses the same one from start to end."""

    manifest: Manifest
    batcher: Batcher


@dataclass(frozen=True)
class LoadError:
    """Why the version that CURRENT names does not serve.

    Attributes:
        version: None if CURRENT names no version.
        reason: Shown to users, so paths in it are relative to the models' folder.
    """

    version: int | None
    reason: str


@dataclass(frozen=True)
class TargetVersion:
    """The version that CURRENT names, and the state of its files. Polls are compared to notice a change.

    Attributes:
        version: None if CURRENT names no version.
        error: What is wrong with CURRENT in that case.
        files: Inode, modification time in ns and size of each file of the version; None for a missing file.
    """

    version: int | None
    error: str = ""
    files: tuple[tuple[int, int, int] | None, ...] = ()


class ModelManager:
    """Holds the version that serves and follows CURRENT. Each server process has one.

    The previous version is not closed: requests may still use it, and it is garbage collected after the last one.

    Attributes:
        model: The version that serves. It changes on the event loop only.
        load_error: Why the version that CURRENT names does not serve, or None.
    """

    def __init__(self, folder: Path, threads: int, observer: Observer, max_waiting: float = math.inf) -> None:
        """Load the version that CURRENT names.

        Args:
            folder: Folder with the versions and CURRENT.
            threads: Threads of one run of a network.
            observer: Counts batches, swaps and failures.
            max_waiting: Most images that wait for the network.

        Raises:
            ModelError: The version cannot be loaded. The text names the file and the reason.
        """
        self._folder, self._threads, self._observer, self._max_waiting = folder, threads, observer, max_waiting
        self._target = self._poll()
        self._retry_at = 0.0
        self._swap_lock = asyncio.Lock()  # one swap at a time
        self.load_error: LoadError | None = None
        self.model = self._load(self._target)
        observer.serving(self.model.manifest.name, self.model.manifest.version)

    async def watch(self) -> None:
        """Follow CURRENT until cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self._follow()
            except Exception:  # if this task ended, the process would never change its version again
                _log.exception("polling CURRENT failed")

    async def activate(self, number: int) -> Manifest:
        """Load a version, write its number to CURRENT and serve it. Other processes follow when they poll CURRENT.

        If this fails, the current version goes on serving.

        Args:
            number: Number of the version.

        Returns:
            The version's manifest.

        Raises:
            VersionNotFound: No version has this number.
            VersionUnusable: The version cannot be loaded.
            NotWritable: CURRENT cannot be replaced.
        """
        async with self._swap_lock:
            target, model = await asyncio.to_thread(self._prepare, number)
            try:
                await asyncio.to_thread(store.activate, self._folder, number)
            except store.VersionError as error:
                raise VersionUnusable(self._relative(error)) from None
            except OSError as error:
                reason = (error.strerror or "it failed").lower()
                raise NotWritable(
                    f"CURRENT cannot be replaced: {reason}; make the models' folder writable for the service"
                ) from None
            # Not polled again here: if CURRENT was replaced since, the next poll must see a change.
            self._target = target
            self._swap(model)
        return model.manifest

    async def _follow(self) -> None:
        async with self._swap_lock:
            target = await asyncio.to_thread(self._poll)
            if target == self._target and (self.load_error is None or time.monotonic() < self._retry_at):
                return
            self._target = target
            self._observer.behind()
            try:
                model = await asyncio.to_thread(self._load, target)
            except ModelError as error:
                self._fail(LoadError(target.version, self._relative(error)), error)
            except Exception as error:  # the current version goes on in any case
                self._fail(
                    LoadError(target.version, "it cannot be loaded; the log of the service has the reason"), error
                )
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

    def _poll(self) -> TargetVersion:
        try:
            number = store.current(self._folder)
        except store.VersionError as error:
            return TargetVersion(None, error=str(error))
        return self._target_of(number)

    def _target_of(self, number: int) -> TargetVersion:
        path = self._folder / str(number)
        return TargetVersion(
            number, files=tuple(_file_state(path / name) for name in (store.MANIFEST, *store.ARTIFACTS))
        )

    def _prepare(self, number: int) -> tuple[TargetVersion, LoadedModel]:
        _require_version(self._folder, number)
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
    """Return the manifests of all versions on disk, lowest first. Damaged ones are left out."""
    readable = []
    for number in store.numbers(folder):
        try:
            readable.append(store.read_manifest(folder / str(number)))
        except store.VersionError:
            continue
    return readable


def manifest(folder: Path, number: int) -> Manifest:
    """Return the manifest of one version.

    Raises:
        VersionNotFound: No version has this number.
        ModelError: The manifest is damaged.
    """
    _require_version(folder, number)
    try:
        return store.read_manifest(folder / str(number))
    except store.VersionError as error:
        raise ModelError(str(error)) from None


def _require_version(folder: Path, number: int) -> None:
    """Raise VersionNotFound if no version has this number."""
    numbers = store.numbers(folder)
    if number not in numbers:
        listed = ", ".join(map(str, numbers)) or "none"
        raise VersionNotFound(f"there is no version {number}; there are: {listed}")


def _file_state(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
