"""Ties a command to the process that starts it: when that one ends, however it ends, so does the command.

Standard library only: the service starts its workers this way, and they the trainings. It is also the program that
stands between the two for a moment.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def with_parent_death_signal(command: list[str]) -> list[str]:
    """The command that runs ``command`` and is killed with this process; on Linux, elsewhere it only runs it.

    The kernel watches the thread that starts the command, not the process: start it from one that stays.
    Whatever ``command`` starts in turn is not tied, unless that is tethered too.
    """
    # -I and -S: nothing of the caller's environment or of this file's folder is imported on the way.
    return [sys.executable, "-IS", __file__, str(os.getpid()), *command]


def set_parent_death_signal(parent: int) -> None:
    """Tie this process to the one with this id, which started it. Ends it at once where that one is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the kernel was asked to watch it
            sys.exit(1)


def main() -> None:
    """Tie this process to its parent and become the command."""
    parent, *command = sys.argv[1:]
    set_parent_death_signal(int(parent))
    os.execvp(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main()
