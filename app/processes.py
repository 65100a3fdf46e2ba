"""Several server processes on one port: started, started again when one dies, ended together."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from typing import Any

from app.dealing import Table
from training.tether import tethered

# Seconds. Between looks whether a process listens yet, and before one that died is started again.
LOOK_EVERY = 0.02
PAUSE = 1.0

_log = logging.getLogger("digits")


class Processes:
    """Runs the same command several times, each with a listening socket of its own; the kernel deals connections out,
    and they pass on to each other what it dealt unevenly.

    A socket for each, not one for all: on one, whoever wakes first takes most of a burst of connections.
    """

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
        self._host, self._port, self._count = host, port, count
        self._command, self._died = command, died
        self._listens, self._end = asyncio.Event(), asyncio.Event()
        self._status = 0

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT; the status to leave with. Raises OSError when the address is not to be had."""
        with Table.laid(self._count) as table:
            return await self._run(table)

    async def _run(self, table: Table) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._end.set)
        self._claim()
        ending = asyncio.create_task(self._end.wait())
        keepers = [asyncio.create_task(self._keep(0, table, ending))]
        # The others start when the first one listens: what keeps the service from starting is told once, and nobody
        # waits for all of them.
        listening = asyncio.create_task(self._listens.wait())
        await asyncio.wait((listening, ending, *keepers), return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if keepers[0].done():
            keepers[0].result()  # raises what kept it from being started
        keepers += [asyncio.create_task(self._keep(place, table, ending)) for place in range(1, self._count)]
        await asyncio.gather(*keepers)
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

    async def _keep(self, place: int, table: Table, ending: asyncio.Task[Any]) -> None:
        """One process, and its successors, until the end."""
        while not ending.done():
            try:
                process, ended = await self._start(place, table, ending)
            except OSError as error:
                if not self._listens.is_set():  # nothing serves yet, and whoever started this should hear why
                    raise
                _log.error("a server process does not start: %s", error.strerror)  # no memory or no processes, for now
                await asyncio.wait((ending,), timeout=PAUSE)
                continue
            await asyncio.wait((ended, ending), return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                if process.returncode is None:
                    process.terminate()
                status = await ended
                if status != -signal.SIGTERM:  # which is how one ends that has not come to hear signals yet
                    self._status = status or self._status
            elif not self._listens.is_set():  # the first one, and it has said why
                self._status = ended.result()
                self._end.set()
                await ending
            else:
                table.clear(place)
                _log.error("a server process died; another takes its place", extra={"status": ended.result()})
                self._died(process.pid)
                await asyncio.wait((ending,), timeout=PAUSE)

    async def _start(
        self, place: int, table: Table, ending: asyncio.Task[Any]
    ) -> tuple[asyncio.subprocess.Process, asyncio.Task[int]]:
        """A process that listens, or need not any more, and its status to come."""
        # A new socket each time, that no one else holds: what waits on a dead process's would wait in vain.
        with self._socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((self._host, self._port))
            command = tethered(self._command(place, table, listener.fileno()))
            inherited = [listener.fileno(), *table.descriptors]
            process = await asyncio.create_subprocess_exec(*command, pass_fds=inherited)
            ended = asyncio.create_task(process.wait())
            while not (ended.done() or ending.done()):
                if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    self._listens.set()
                    break
                await asyncio.sleep(LOOK_EVERY)
        return process, ended
