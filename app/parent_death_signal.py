"""Kills a child process when its parent ends, however the parent ends (Linux only).

The service starts its workers this way, and workers their trainings. This module is also the program that sets the
signal and then becomes the command, so it uses the standard library only.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def with_parent_death_signal(command: list[str]) -> list[str]:
    """Wrap a command so that it is killed when this process ends.

    The kernel watches the thread that starts the command, not the process: use a thread that lives as long as the
    process. Processes that the command starts are not killed with it, unless it wraps them too.

    Args:
        command: A program with its arguments.

    Returns:
        The command to start in its place. Outside Linux it only runs ``command``.
    """
    # -I and -S: Python imports nothing from the environment, site-packages or this file's folder.
    return [sys.executable, "-IS", __file__, str(os.getpid()), *command]


def set_parent_death_signal(parent: int) -> None:
    """Have the kernel kill this process when its parent ends. Exit at once if the parent has ended already.

    Args:
        parent: Process id of the parent.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before prctl was called
            sys.exit(1)


def main() -> None:
    """Set the signal and become the command: ``parent_death_signal.py PARENT COMMAND ...``."""
    parent, *command = sys.argv[1:]
    set_parent_death_signal(int(parent))
    os.execvp(command[0], command)  # noqa: S606  # no shell is needed


if __name__ == "__main__":
    main()
