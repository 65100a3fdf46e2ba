"""One server process: uvicorn, with a graceful end and without its deafness to bodies after an offer of HTTP/2."""

import asyncio
import contextlib
import functools
import gc
import os
import signal
import socket
from http import HTTPStatus
from types import FrameType

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Connections that are taken in one turn of the loop. The loop itself takes one, and answers all requests that have come
# before the next: in a crowd of hundreds, a new connection would wait for seconds.
AT_ONCE = 16

# Bytes of a request that say nothing yet: those of a head without its end, or between two pieces of a body. They are
# kept in memory, and no head is as long.
MOST_SILENT = 64 * 2**10

# Seconds for which a connection may say nothing whole, at its beginning and in the midst of a head. Of a body, see
# bodies.py.
PATIENCE = 30.0

# Objects more than at the last look for garbage that are worth another. Python's own number, 700, is that of a handful
# of requests, which leave none as a rule.
GARBAGE = 20_000

# Seconds after SIGTERM: for requests that are on their way, and then for those that run. What stops services kills
# them after ten, as a rule.
LAST_CALL_SECONDS = 0.5
GRACE_SECONDS = 7


class Http(HttpToolsProtocol):
    """Requests that offer to go over to another protocol are answered as if they did not, as RFC 9110 (7.8) lets us.
    Those that do not come to an end, or to a beginning, are ended: uvicorn would keep them for ever.

    Java's own client and `curl --http2` offer HTTP/2 with every request. The parser ends such a request with its
    headers, and what follows, its body, would be lost (https://github.com/Kludex/uvicorn/issues/2722).
    """

    _silent = 0  # bytes since something whole came: a head, a piece of a body, the end of a request
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._late = self.loop.call_later(PATIENCE, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        self._heard()
        if not self._offers():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._heard()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._heard()
        if not self._offers():
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._silent += len(data)
        pieces = [memoryview(data)]  # the next one last
        try:
            while pieces:
                piece = pieces.pop()
                try:
                    self.parser.feed_data(piece)
                except httptools.HttpParserUpgrade as end:
                    if self._offers():
                        pieces += [piece[end.args[0] :], memoryview(self._without_the_offer())]
                        self.parser = httptools.HttpRequestParser(self)
        except httptools.HttpParserError:
            self.send_400_response("this is no HTTP/1.1")
            return
        if self._silent > MOST_SILENT:
            self._end(431, f"the head of the request is larger than {MOST_SILENT:,} bytes; send fewer headers")
        elif self._silent and not self._late:
            self._late = self.loop.call_later(PATIENCE, self._give_up)

    def _heard(self) -> None:
        self._silent = 0
        if self._late:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._end(408, f"nothing more of the request came for {PATIENCE:g} seconds; send it again")

    def _end(self, status: int, reason: str) -> None:
        """Close the connection, and tell why where a request has begun and none is being answered."""
        if self._silent and (self.cycle is None or self.cycle.response_complete):
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: text/plain; charset=utf-8\r\n"
            self.transport.write(f"{head}content-length: {len(reason)}\r\nconnection: close\r\n\r\n{reason}".encode())
        self.transport.close()

    def _offers(self) -> bool:
        return self.parser.should_upgrade() and any(name == b"upgrade" for name, _ in self.headers)

    def _without_the_offer(self) -> bytes:
        """The head of the request once more."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join(lines) + b"\r\n\r\n"


class Server(uvicorn.Server):
    """Takes several connections at once, and lets those that it has end with a reply.

    uvicorn closes connections that are idle at once, and with them a request that is just arriving. Here only new
    connections are refused at first; the others end with the reply that they bring next.
    """

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        protocol = functools.partial(
            Http, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        for listener in [listener for server in self.servers for listener in server.sockets]:
            for _ in range(AT_ONCE - 1):  # each is asked for a connection once a turn
                another = socket.socket(fileno=os.dup(listener.fileno()))
                self.servers.append(await loop.create_server(protocol, sock=another))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        self.server_state.default_headers.append((b"connection", b"close"))
        await asyncio.sleep(LAST_CALL_SECONDS)
        await super().shutdown(sockets)


def serve(host: str, port: int, listener: int | None = None) -> None:
    """Serve in this process until SIGTERM or SIGINT.

    listener: the file descriptor of a socket to listen on, instead of the address.
    """
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        host=host,
        port=port,
        http=Http,
        log_config=None,  # ours is in place
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    # What the imports make, 110,000 objects, stays to the end. Looking through it for garbage makes the start longer,
    # and would later hold all requests up: 65 ms on an idle machine, 150 and more on one that is busy.
    gc.disable()
    config.load_app()
    gc.freeze()
    gc.set_threshold(GARBAGE)
    gc.enable()
    server = Server(config)

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    # The server puts this back after its graceful stop and sends itself the signal once more; by default the process
    # would end by that, and be told to have failed.
    signal.signal(signal.SIGTERM, stop)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(None if listener is None else [socket.socket(fileno=listener)])
