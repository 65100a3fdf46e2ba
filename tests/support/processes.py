"""Processes, as Linux shows them in /proc."""

import contextlib
import os
from pathlib import Path


def children(pid: int) -> list[int]:
    """Ids of the processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid: int) -> str:
    """The words of a process's command line; nothing for one that has ended, be it a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def runs(pid: int) -> bool:
    """Whether a process has not ended. A zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


_LISTENS = "0A"  # a state in /proc/net/tcp


def listens(pid: int) -> bool:
    """Whether a process has a socket that listens."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {f"socket:[{row[9]}]" for row in rows if row[3] == _LISTENS}
    with contextlib.suppress(FileNotFoundError):  # it ended
        return any(os.readlink(link) in listening for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink())
    return False
