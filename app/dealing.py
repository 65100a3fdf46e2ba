"""Connections dealt evenly over the server processes.

The kernel deals them by chance: of four, all go to the same of two processes one time in eight, and a core stays idle
for as long as they live. So a process that is given one while another has fewer passes it on.
"""

import contextlib
import mmap
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# More connections than this are even enough as they come. Without a bound, 128 clients who each bring a connection with
# every request were answered a fifth less often; with this one, a twentieth.
FEW = 8

# What is added to the connections of a process that takes none that are passed on. Far more than there can be.
_CLOSED = 2**40

_BYTES = 8  # of a number


@dataclass(frozen=True)
class Table:
    """What the processes share, as file descriptors that they inherit. It outlives each of them.

    counts: of a file of numbers, see ``Seat``. boxes: a pair of sockets for each place; a connection that is put into
    the second comes out of the first.
    """

    counts: int
    boxes: Sequence[tuple[int, int]]

    @classmethod
    @contextlib.contextmanager
    def laid(cls, places: int) -> Iterator["Table"]:
        """A new one, at which nobody sits yet. Raises OSError."""
        with tempfile.TemporaryFile() as counts, contextlib.ExitStack() as stack:
            counts.truncate((2 + places) * places * _BYTES)
            pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(places)]
            boxes = [(stack.enter_context(out).fileno(), stack.enter_context(into).fileno()) for out, into in pairs]
            table = cls(counts.fileno(), boxes)
            for place in range(places):
                table.clear(place)
            yield table

    @classmethod
    def parse(cls, text: str) -> "Table":
        """One that ``str`` has written."""
        counts, *ends = map(int, text.split(","))
        return cls(counts, list(zip(ends[::2], ends[1::2], strict=True)))

    def __str__(self) -> str:
        return ",".join(map(str, self.descriptors))

    @property
    def descriptors(self) -> list[int]:
        return [self.counts, *(end for box in self.boxes for end in box)]

    def clear(self, place: int) -> None:
        """Who sat there is gone."""
        os.pwrite(self.counts, _CLOSED.to_bytes(_BYTES, sys.byteorder), place * _BYTES)


class Seat:
    """A server process's place at the table. Not for use by two threads at once.

    Of the numbers, each is written by one process alone. The first row has the connections of each place; the second,
    how many each has taken out of its box; the others, how many each place has put into which box.
    """

    def __init__(self, table: Table, place: int) -> None:
        import numpy as np  # here, as the process that lays the table should not wait for it

        self._place = place
        self.box = socket.socket(fileno=table.boxes[place][0])
        self._boxes = [socket.socket(fileno=into) for _, into in table.boxes]
        for end in (self.box, *self._boxes):
            end.setblocking(False)
        numbers = np.frombuffer(mmap.mmap(table.counts, 0), np.int64).reshape(-1, len(table.boxes))
        self._open, self._taken, self._put = numbers[0], numbers[1], numbers[2:]

    def sit(self) -> None:
        """Connections may be passed on to here."""
        self.count(-_CLOSED)  # not to 0: some may have come already

    def leave(self) -> None:
        """No more may. Those that have been still come out of the box."""
        self.count(_CLOSED)

    def count(self, more: int) -> None:
        """There are so many more connections here, or less than 0 fewer."""
        self._open[self._place] += more

    def pass_on(self, connection: int) -> bool:
        """Put a new connection's descriptor, not counted yet, into the box of a place that has fewer, if any has and
        there are few here.

        Where that was done, the caller still has it to close.
        """
        if not 0 < self._open[self._place] <= FEW:
            return False
        waiting = self._open - self._taken + self._put.sum(axis=0)
        least = int(waiting.argmin())
        if waiting[least] >= waiting[self._place]:
            return False
        self._put[self._place, least] += 1
        try:
            socket.send_fds(self._boxes[least], [b"1"], [connection])
        except OSError:  # it is full
            self._put[self._place, least] -= 1
            return False
        return True

    def take(self) -> socket.socket | None:
        """A connection that was passed on to here, and counts here from now on; None where there is none."""
        try:
            _, connections, *_ = socket.recv_fds(self.box, 1, 1)
        except BlockingIOError:
            return None
        if connections:  # none: too many files are open
            self.count(1)  # before it is out of the box: one too few here for a moment, and others pass more on
        self._taken[self._place] += 1
        return socket.socket(fileno=connections[0]) if connections else None
