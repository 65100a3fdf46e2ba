"""Keeps one worker running as a child process of the service."""

import asyncio
import contextlib
import fcntl
import logging
import sys
from typing import IO

from app.parent_death_signal import with_parent_death_signal
from app.retraining import prerequisites
from app.settings import Settings

# Pauses before a worker that ended is restarted: short after a crash, longer and longer if it cannot start.
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 30.0
STABLE_RUN_SECONDS = 60.0  # after a run of this length, the pause is short again
LOCK_RETRY_SECONDS = 1.0
PREREQUISITES_POLL_SECONDS = 2.0  # between checks whether this machine can train

_log = logging.getLogger("digits.supervisor")


async def supervise(settings: Settings) -> None:
    """Run a worker, restart it whenever it ends, and stop it when this task is cancelled.

    Of several service processes with one state folder, only one does so; when it ends, another takes over. The first
    worker starts when this machine can train, which may be later than the start of the service.
    """
    if problem := prerequisites.problem(settings):
        _log.info(f"retraining is not possible yet: {problem}")
    while prerequisites.problem(settings):
        await asyncio.sleep(PREREQUISITES_POLL_SECONDS)
    async with contextlib.AsyncExitStack() as stack:
        lock = await _lock(settings)
        stack.callback(lock.close)
        pause = FIRST_PAUSE_SECONDS
        while True:
            started = asyncio.get_running_loop().time()
            await _run_worker()
            is_stable = asyncio.get_running_loop().time() - started > STABLE_RUN_SECONDS
            pause = FIRST_PAUSE_SECONDS if is_stable else min(pause * 2, MAX_PAUSE_SECONDS)
            await asyncio.sleep(pause)


async def _lock(settings: Settings) -> IO[bytes]:
    """Wait for the lock on ``worker.lock``, and return the open file that holds it."""
    path, is_logged, file = settings.state / "worker.lock", False, None
    while True:
        try:
            settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = path.open("wb")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError as error:
            if file:
                file.close()
            if not is_logged and not isinstance(error, BlockingIOError):  # raised while another process has the lock
                _log.error("the worker cannot start: %s: %s", path, error.strerror)
                is_logged = True
        await asyncio.sleep(LOCK_RETRY_SECONDS)


async def _run_worker() -> None:
    """Run one worker from start to end. It is killed when this process ends, however that happens."""
    try:
        process = await asyncio.create_subprocess_exec(
            *with_parent_death_signal([sys.executable, "-m", "app.retraining.worker"]), stdin=asyncio.subprocess.DEVNULL
        )
    except OSError as error:  # too little memory or too many processes
        _log.error("the worker cannot start: %s", error.strerror)
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
