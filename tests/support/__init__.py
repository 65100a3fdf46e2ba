"""What several test modules need."""

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from tests.samples import IMAGES

SEVEN = (IMAGES / "seven-28x28.png").read_bytes()

# Seconds; only a test that fails waits for so long.
PATIENCE = 60


def metric(text: str, name: str) -> float:
    """The value of a series in Prometheus's text format, 0 where there is none."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Until it holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Ids of the processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


_LISTENS = "0A"  # a state in /proc/net/tcp


def listens(pid: int) -> bool:
    """Whether a process has a socket that listens."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {f"socket:[{row[9]}]" for row in rows if row[3] == _LISTENS}
    with contextlib.suppress(FileNotFoundError):  # it ended
        return any(os.readlink(link) in listening for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink())
    return False
