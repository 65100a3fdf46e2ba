"""Several server processes on one port: started, started again when one dies, ended together."""

import contextlib
import logging
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.dealing import Table

# Seconds. Between looks whether a process listens yet, and before one that died is started again.
LOOK_EVERY = 0.02
PAUSE = 1.0

_log = logging.getLogger("digits")


class Processes:
    """Runs the same command several times, each with a listening socket of its own; the kernel deals connections out,
    and they pass on to each other what it dealt unevenly.

    A socket for each, not one for all: on one, whoever wakes first takes most of a burst of connections.
    """

    # No event loop: to import one takes a fortieth of the start.

    def __init__(
        self,
        host: str,
        port: int,
        count: int,
        command: Callable[[int, Table, int], list[str]],
        died: Callable[[int], None] = lambda pid: None,
    ) -> None:
        """command: makes the one that serves at this place of this table, on the socket with this file descriptor.
        died: told who ended early.
        """
        self._host, self._port, self._command, self._died = host, port, command, died
        self._places = [_Place(number) for number in range(count)]
        self._listens = self._ending = False
        self._status = 0

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; the status to leave with. In the main thread, which hears signals.

        Raises OSError when the address is not to be had, or the first process.
        """
        self._claim()
        with Table.laid(len(self._places)) as table, self._bell() as bell:
            try:
                while not self._ending:
                    # The others start when the first one listens: what keeps the service from starting is told once,
                    # and nobody waits for all of them.
                    for place in self._places if self._listens else self._places[:1]:
                        self._look(place, table)
                    settled = all(place.process and not place.listener for place in self._places)
                    if not self._ending and select.select([bell], [], [], None if settled else LOOK_EVERY)[0]:
                        bell.recv(4096)
            finally:
                self._end()
        return self._status

    def _claim(self) -> None:
        """Sockets that share a port would also share it with another service of the same user, without a word."""
        with self._socket() as probe:
            probe.bind((self._host, self._port))
            self._port = probe.getsockname()[1]  # where 0 was asked for, any that is free

    def _socket(self) -> socket.socket:
        found = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return found

    @contextlib.contextmanager
    def _bell(self) -> Iterator[socket.socket]:
        """A socket from which something comes when a signal does: one to end, or of a process that ended."""

        def end(*_: object) -> None:
            self._ending = True

        handlers = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGCHLD: lambda *_: None}
        bell, rope = socket.socketpair()
        with bell, rope:
            rope.setblocking(False)
            descriptor_before = signal.set_wakeup_fd(rope.fileno(), warn_on_full_buffer=False)
            before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
            try:
                yield bell
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)
                signal.set_wakeup_fd(descriptor_before)

    def _look(self, place: "_Place", table: Table) -> None:
        """Go on with one process, or its successor, from where it is."""
        if place.process is None:
            if time.monotonic() >= place.start_at:
                self._start(place, table)
        elif (status := place.process.poll()) is not None:
            if self._listens:
                table.clear(place.number)
                _log.error("a server process died; another takes its place", extra={"status": status})
                self._died(place.process.pid)
                place.forget(PAUSE)
            else:  # the first one, and it has said why
                self._status, self._ending = status, True
        elif place.listener and place.listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            place.settle()
            self._listens = True

    def _start(self, place: "_Place", table: Table) -> None:
        # A new socket each time, that no one else holds: what waits on a dead process's would wait in vain.
        try:
            place.listener = self._socket()
            place.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            place.listener.bind((self._host, self._port))
            descriptor = place.listener.fileno()
            command = self._command(place.number, table, descriptor)
            place.process = subprocess.Popen(command, pass_fds=[descriptor, *table.descriptors])  # noqa: S603  # ours
        except OSError as error:
            if not self._listens:  # nothing serves yet, and whoever started this should hear why
                raise
            _log.error("a server process does not start: %s", error.strerror)  # no memory or no processes, for now
            place.forget(PAUSE)

    def _end(self) -> None:
        """All of them; each answers what was sent to it."""
        for place in self._places:
            place.settle()  # first: who connects when the process has closed its own would wait here, to be reset
        running = [place.process for place in self._places if place.process]
        for process in running:
            process.terminate()
        for process in running:
            status = process.wait()
            if status != -signal.SIGTERM:  # which is how one ends that has not come to hear signals yet
                self._status = status or self._status


@dataclass
class _Place:
    """A server process, or the time from which on there should be one: seconds of time.monotonic.

    listener: its socket, until it listens there.
    """

    number: int
    process: subprocess.Popen[bytes] | None = None
    listener: socket.socket | None = None
    start_at: float = 0.0

    def settle(self) -> None:
        """Its socket is its own."""
        if self.listener:
            self.listener.close()
        self.listener = None

    def forget(self, pause: float) -> None:
        """It is gone; there should be another after a pause of so many seconds."""
        self.settle()
        self.process, self.start_at = None, time.monotonic() + pause
