"""A run's folder belongs to one process at a time."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from training.errors import RunInUse


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold a run's folder, which exists, for this process.

    Raises:
        RunInUse: where another process holds it.
    """
    with (run / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunInUse(f"another process is training in {run}; choose another folder with --run") from None
        yield
