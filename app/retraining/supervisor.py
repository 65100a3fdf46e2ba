"""Keeps one worker running beside the service."""

import asyncio
import contextlib
import fcntl
import logging
import sys
from typing import IO

from app.parent_death_signal import with_parent_death_signal
from app.retraining import prerequisites
from app.settings import Settings

# Seconds until a worker that ended is started again: soon at first, for a crash; rarely, where it cannot start.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
STABLE_RUN_SECONDS = 60.0  # one that ran for so long begins with the short pause again
LOCK_RETRY_SECONDS = 1.0
PREREQUISITES_POLL_SECONDS = 2.0  # between looks whether this machine can train by now

_log = logging.getLogger("digits.supervisor")


async def supervise(settings: Settings) -> None:
    """Start a worker, start it again whenever it ends, and end it when this is cancelled.

    Of several service processes with one state folder only one does so; another takes over when that one is gone.
    There is no worker until this machine can train, which it may do later than the service starts.
    """
    if problem := prerequisites.problem(settings):
        _log.info(f"no retraining here: {problem}")
    while prerequisites.problem(settings):
        await asyncio.sleep(PREREQUISITES_POLL_SECONDS)
    async with contextlib.AsyncExitStack() as stack:
        lock = await _first(settings)
        stack.callback(lock.close)
        pause = FIRST_PAUSE
        while True:
            started = asyncio.get_running_loop().time()
            await _run_worker()
            steady = asyncio.get_running_loop().time() - started > STABLE_RUN_SECONDS
            pause = FIRST_PAUSE if steady else min(pause * 2, LONGEST_PAUSE)
            await asyncio.sleep(pause)


async def _first(settings: Settings) -> IO[bytes]:
    """The open file once its lock is this process's."""
    path, told, file = settings.state / "worker.lock", False, None
    while True:
        try:
            settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = path.open("wb")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError as error:
            if file:
                file.close()
            if not told and not isinstance(error, BlockingIOError):  # which says that another process has it
                _log.error("no worker: %s: %s", path, error.strerror)
                told = True
        await asyncio.sleep(LOCK_RETRY_SECONDS)


async def _run_worker() -> None:
    """One worker from start to end. It is killed with this process, however that ends."""
    try:
        process = await asyncio.create_subprocess_exec(
            *with_parent_death_signal([sys.executable, "-m", "app.retraining.worker"]), stdin=asyncio.subprocess.DEVNULL
        )
    except OSError as error:  # no memory or no processes left, for now
        _log.error("the worker does not start: %s", error.strerror)
        return
    try:
        status = await process.wait()
        _log.warning("the worker ended", extra={"status": status})
    finally:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), 3)
        if process.returncode is None:
            process.kill()
            await process.wait()
