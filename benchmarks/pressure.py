"""Load that keeps status and time of every reply, which wrk does not; in a process of its own.

Each connection sends one request after the other without pause. A connection that ends is replaced.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import cast

import numpy as np
import uvloop

from benchmarks.service import ROOT
from benchmarks.wrk import Request

LAST_REPLIES_SECONDS = 10.0  # to wait for replies after the last request


@dataclass(frozen=True)
class Times:
    """Times of the replies of one status, in milliseconds."""

    count: int
    p50: float
    p99: float
    longest: float


@dataclass(frozen=True)
class Outcome:
    """What a load gave.

    Attributes:
        replies: By status.
        broken: Connections that ended, or were refused, while a reply was due.
    """

    replies: dict[int, Times]
    broken: int


def load(port: int, request: Request, connections: int, seconds: float, *, first: bool = False) -> Outcome:
    """Send to a port of this host.

    Args:
        port: Of the service.
        request: What is sent again and again.
        connections: At the same time.
        seconds: How long.
        first: Give the load real-time priority, where it may have it (as root). On busy cores it would else notice
            replies milliseconds late, and charge those to the service.

    Raises:
        RuntimeError: The load itself fails.
    """
    command = [sys.executable, "-m", "benchmarks.pressure", *map(str, (port, connections, seconds))]
    command += [request.path, request.content_type, *(["--first"] if first else [])]
    done = subprocess.run(command, input=request.body, cwd=ROOT, capture_output=True, check=False)  # noqa: S603  # ours
    if done.returncode:
        raise RuntimeError(done.stderr.decode().strip().splitlines()[-1])
    told = json.loads(done.stdout)
    return Outcome({int(status): Times(**times) for status, times in told["replies"].items()}, told["broken"])


class _Load:
    """What all connections share."""

    def __init__(self, port: int, message: bytes) -> None:
        self.port, self.message = port, message
        self.times: dict[int, list[float]] = defaultdict(list)
        self.broken = 0
        self.due = 0  # replies
        self.ended = False

    async def run(self, connections: int, seconds: float) -> None:
        begin = time.monotonic()
        await asyncio.gather(*(self.connect() for _ in range(connections)))
        await asyncio.sleep(begin + seconds - time.monotonic())
        self.ended = True
        deadline = time.monotonic() + LAST_REPLIES_SECONDS
        while self.due and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        self.broken += self.due

    async def connect(self) -> None:
        while not self.ended:
            try:
                await asyncio.get_running_loop().create_connection(lambda: _Connection(self), "127.0.0.1", self.port)
                return
            except OSError:
                self.broken += 1
                await asyncio.sleep(0.1)


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self._load = load
        self._received = b""
        self._sent = 0.0
        self._again: asyncio.Task[None] | None = None  # kept, so that it is not collected

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._send()

    def _send(self) -> None:
        if self._load.ended:
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._load.due += 1
        self._transport.write(self._load.message)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        self._load.times[int(head[9:12])].append(time.perf_counter() - self._sent)
        self._load.due -= 1
        self._received, self._sent = b"", 0.0
        if b"\r\nconnection: close" in head.lower():
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if self._sent:
            self._load.broken += 1
            self._load.due -= 1
        if not self._load.ended:
            self._again = asyncio.ensure_future(self._load.connect())


def _length(head: bytes) -> int:
    """The length of the body, from the headers of a reply."""
    return int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])


def _message(request: Request) -> bytes:
    head = [f"{'POST' if request.body else 'GET'} {request.path} HTTP/1.1", "Host: 127.0.0.1"]
    if request.body:
        head += [f"Content-Type: {request.content_type}", f"Content-Length: {len(request.body)}"]
    return "\r\n".join([*head, "", ""]).encode() + request.body


def main() -> None:
    """The process that sends: the body of the request comes on standard input, the outcome is printed as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("path")
    parser.add_argument("content_type")
    parser.add_argument("--first", action="store_true")
    options = parser.parse_args()
    if options.first:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    load = _Load(options.port, _message(Request(options.path, sys.stdin.buffer.read(), options.content_type)))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(load.run(options.connections, options.seconds))
    replies = {}
    for status, times in sorted(load.times.items()):
        p50, p99, longest = (float(value) * 1000 for value in np.percentile(times, (50, 99, 100)))
        replies[status] = {"count": len(times), "p50": p50, "p99": p99, "longest": longest}
    print(json.dumps({"replies": replies, "broken": load.broken}))


if __name__ == "__main__":
    main()
