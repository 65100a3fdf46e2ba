"""One server process: uvicorn, with a graceful end, and several connections taken at once."""

import asyncio
import contextlib
import functools
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from app.dealing import Seat
from app.http.protocol import CLOSE, Http

# Connections that are taken in one turn of the loop. The loop itself takes one, and answers all requests that have come
# before the next: in a crowd of hundreds, a new connection would wait for seconds.
AT_ONCE = 16

# Objects more than at the last look for garbage that are worth another. Python's own number, 700, is that of a handful
# of requests, which leave none as a rule.
GARBAGE = 20_000

# Seconds after SIGTERM: for requests that are on their way, and then for those that run. What stops services kills
# them after ten, as a rule.
LAST_CALL_SECONDS = 0.5
GRACE_SECONDS = 7


class Dealt(Http):
    """A connection that came to this process, and may be passed on to one that has fewer."""

    def __init__(self, *arguments: Any, seat: Seat, given: bool = False, **named: Any) -> None:
        """given: whether it was passed on already, so that it stays here, where it is counted."""
        super().__init__(*arguments, **named)
        self._seat, self._given = seat, given
        self._stays = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        self._stays = self._given or not self._seat.pass_on(transport.get_extra_info("socket").fileno())
        if self._stays:
            if not self._given:
                self._seat.count(1)
            super().connection_made(transport)
        else:
            transport.abort()  # which only closes the descriptor: nothing was sent or read

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stays:
            self._seat.count(-1)
            super().connection_lost(exc)


class Server(uvicorn.Server):
    """Takes several connections at once, and lets those that it has end with a reply.

    uvicorn closes connections that are idle at once, and with them a request that is just arriving. Here only new
    connections are refused at first; the others end with the reply that they bring next.
    """

    def __init__(self, config: uvicorn.Config, seat: Seat | None = None) -> None:
        """seat: among the processes of which this is one."""
        super().__init__(config)
        self._seat = seat
        self._coming: set[asyncio.Task[Any]] = set()  # connections that are being taken over
        self._listeners: list[socket.socket] = []  # what is listened on, once more

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        self._protocol = protocol = functools.partial(
            self.config.http_protocol_class,  # type: ignore[call-arg]  # as uvicorn calls it
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        self._listeners = [_again(listener) for server in self.servers for listener in server.sockets]
        for listener in self._listeners:
            for _ in range(AT_ONCE - 1):  # each is asked for a connection once a turn
                self.servers.append(await loop.create_server(protocol, sock=_again(listener)))
        if self._seat:
            loop.add_reader(self._seat.box, self._take, self._seat, functools.partial(protocol, given=True))
            self._seat.sit()

    def _take(self, seat: Seat, protocol: Callable[[], asyncio.Protocol]) -> None:
        for _ in range(AT_ONCE):
            connection = seat.take()
            if connection is None:
                break
            self._take_over(connection, protocol, seat)

    def _take_over(
        self, connection: socket.socket, protocol: Callable[[], asyncio.Protocol], seat: Seat | None = None
    ) -> None:
        """Serve a connection that the loop did not accept itself. seat: where it is counted already."""
        loop = asyncio.get_running_loop()

        def taken(taking: "asyncio.Task[Any]") -> None:
            self._coming.discard(taking)
            error = None if taking.cancelled() else taking.exception()
            if seat and (taking.cancelled() or error):
                seat.count(-1)
            if error:
                logging.getLogger("digits").error("a connection could not be taken over", exc_info=error)

        taking = loop.create_task(loop.connect_accepted_socket(protocol, connection))
        self._coming.add(taking)
        taking.add_done_callback(taken)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        if self._seat:
            self._seat.leave()
        self.server_state.default_headers.append(CLOSE)
        await self._take_the_last()
        await asyncio.sleep(LAST_CALL_SECONDS)
        await super().shutdown(sockets)

    async def _take_the_last(self) -> None:
        """Those who have connected, but wait to be taken, would be reset with the socket at which they wait."""
        await asyncio.sleep(0)  # until the loop has closed its own
        for listener in self._listeners:
            with listener, contextlib.suppress(OSError):  # there are no more, or too many files are open
                while True:
                    connection, _ = listener.accept()
                    self._take_over(connection, self._protocol)


def _again(listener: socket.socket) -> socket.socket:
    """The same, for one more to accept from, or to close."""
    return socket.socket(fileno=os.dup(listener.fileno()))


def serve(
    app: Callable[[], ASGIApp], host: str, port: int, listener: int | None = None, seat: Seat | None = None
) -> None:
    """Serve in this process until SIGTERM or SIGINT.

    app: makes what is served. listener: the file descriptor of a socket to listen on, instead of the address. seat:
    among several processes.
    """
    config = uvicorn.Config(
        app,
        factory=True,
        host=host,
        port=port,
        http=functools.partial(Dealt, seat=seat) if seat else Http,  # type: ignore[arg-type]  # uvicorn calls it
        log_config=None,  # ours is in place
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    # What the imports make, 95,000 objects, stays to the end. Looking through it for garbage makes the start longer,
    # and would later hold all requests up: 65 ms on an idle machine, 150 and more on one that is busy. So whoever calls
    # this has turned the collector off before.
    config.load()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    gc.enable()
    server = Server(config, seat)

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # The server puts this back after its graceful stop and sends itself the signal once more; by default the process
    # would end by that, and be told to have failed.
    signal.signal(signal.SIGTERM, stop)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(None if listener is None else [socket.socket(fileno=listener)])
