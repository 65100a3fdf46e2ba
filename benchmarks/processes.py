"""A server with all its processes: start, processor time, memory, end."""

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SETTLE_SECONDS = 0.5

_TICKS = os.sysconf("SC_CLK_TCK")
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Memory:
    """In MB. rss counts shared pages for each process, pss once for all."""

    rss: float
    pss: float


class Server:
    """A program that serves on a port of this host, in a process group of its own; its output goes to a file."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], folder: Path, port: int, log: Path) -> None:
        """Start it in a folder."""
        self.port, self.log = port, log
        self.ready_after = 0.0
        self._began = time.monotonic()
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  # our own command
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_become_subreaper,
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def await_ready(self, answers: Callable[[], bool], seconds: float = 120) -> None:
        """Wait until it answers; ``ready_after`` has the seconds. Raises RuntimeError with the end of the log."""
        while not answers():
            if self._process.poll() is not None:
                raise RuntimeError(f"it ended with status {self._process.returncode}: {self.last_line()}")
            if time.monotonic() > self._began + seconds:
                raise RuntimeError(f"it did not answer within {seconds:.0f} s: {self.last_line()}")
            time.sleep(0.01)
        self.ready_after = time.monotonic() - self._began

    def settle(self, seconds: float = 5) -> None:
        """Wait until all its processes have started and are idle, for at most ``seconds``."""
        deadline = time.monotonic() + seconds
        idle = 0.1 * SETTLE_SECONDS
        while time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(SETTLE_SECONDS)
            if self.cpu_seconds() - before < idle:
                return

    def last_line(self) -> str:
        """The last line that it printed and that is not blank."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip()[:300] if lines else "it said nothing"

    def processes(self) -> list[int]:
        """Its ids: its own, and those of all that it started, directly or not."""
        return [self._process.pid, *below(self._process.pid)]

    def cpu_seconds(self) -> float:
        """Processor time of all its processes since they began, and of those that have ended."""
        return sum(_cpu_seconds(pid) for pid in self.processes())

    def memories(self) -> list[Memory]:
        """What each of its processes holds now."""
        return [_memory(pid) for pid in self.processes()]

    def memory(self) -> Memory:
        """What all its processes hold now."""
        found = self.memories()
        return Memory(sum(memory.rss for memory in found), sum(memory.pss for memory in found))

    def stop(self, seconds: float = 10) -> None:
        """Ask it to end, and kill what is left of it after ``seconds``."""
        with contextlib.ExitStack() as stack:
            # Unlike an id, a handle is never reused for another process.
            handles = [handle for handle in (_handle(pid, stack) for pid in self.processes()) if handle is not None]
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
            for handle in handles:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
            for handle in handles:
                select.select([handle], [], [], seconds)  # until it has ended
            self._process.wait()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_port() -> int:
    """A port of this host that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def below(pid: int) -> Iterator[int]:
    """All processes that a process has started, directly or not, and that still run."""
    # Children are listed under the thread that started them.
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                yield child
                yield from below(child)


def _become_subreaper() -> None:
    """Run in the new process: its grandchildren become its children when their parents end."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _handle(pid: int, stack: contextlib.ExitStack) -> int | None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    stack.callback(os.close, handle)
    return handle


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process and of its children that have ended; proc(5), fields 14 to 17."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS
    return 0.0


def _memory(pid: int) -> Memory:
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
        found = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return Memory(found["Rss"] / 1024, found["Pss"] / 1024)
    return Memory(0, 0)
