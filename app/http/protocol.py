"""HTTP/1.1 on one connection: uvicorn's, with bounds on what it waits for, and a short way to some answers."""

import asyncio
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Headers = list[tuple[bytes, bytes]]

# Among what every reply begins with, where it is to be the connection's last.
CLOSE = (b"connection", b"close")

# Bytes of a request that say nothing yet: those of a head without its end, or between two pieces of a body. They are
# kept in memory, and no head is as long.
MOST_SILENT = 64 * 2**10

# Seconds for which a connection may say nothing whole, at its beginning and in the midst of a head. Of a body, see
# bodies.py.
PATIENCE = 30.0

# Seconds for which the rest of a request is waited for here; many clients send its body right after its head. Then the
# application waits.
SOON = 0.1


class Express(Protocol):
    """Answers some requests without the application; all at once what came in one turn of the event loop."""

    def wants(self, method: bytes, url: bytes, headers: Headers) -> bool:
        """Whether it is for the express to look at, as far as its head tells. headers: names in lower case."""

    def take(self, call: "Call") -> None:
        """Reply to it, or give it up, soon."""


@dataclass(eq=False, slots=True)
class Call:
    """A request of an express.

    began: on the clock of time.monotonic. open: whether it is still to be answered.
    """

    connection: "Http"
    headers: Headers
    began: float
    body: bytes = b""
    whole: bool = False
    late: asyncio.TimerHandle | None = None
    taken: bool = False
    open: bool = True


class _Careful(HttpToolsProtocol):
    """Requests that offer to go over to another protocol are answered as if they did not, as RFC 9110 (7.8) lets us.
    Those that do not come to an end, or to a beginning, are ended: uvicorn would keep them for ever.

    Java's own client and `curl --http2` offer HTTP/2 with every request. The parser ends such a request with its
    headers, and what follows, its body, would be lost (https://github.com/Kludex/uvicorn/issues/2722).
    """

    _silent = 0  # bytes since something whole came: a head, a piece of a body, the end of a request
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._late = self.loop.call_later(PATIENCE, self._time_out)

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
            self._late = self.loop.call_later(PATIENCE, self._time_out)

    def _heard(self) -> None:
        self._silent = 0
        if self._late:
            self._late.cancel()
            self._late = None

    def _time_out(self) -> None:
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


class Http(_Careful):
    """Requests that come one at a time and soon are whole may be answered by the ``Express`` that the application has
    in its lifespan's state. What that one gives up, the application gets as if it had just come.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """As uvicorn makes them."""
        super().__init__(*arguments, **named)
        self._express: Express | None = self.app_state.get("express")
        self._call: Call | None = None

    @property
    def listens(self) -> bool:
        """Whether a reply would be taken now, and another request after it."""
        ends = CLOSE in self.server_state.default_headers
        return not (ends or self.flow.write_paused or self.transport.is_closing())

    def reply(self, call: Call, headers: bytes, body: bytes) -> None:
        """Answer with status 200. headers: each with its line's end; the server's own come before."""
        self._call, call.open = None, False
        own = b"".join([b"%b: %b\r\n" % header for header in self.server_state.default_headers])
        self.transport.write(b"HTTP/1.1 200 OK\r\n%b%b\r\n%b" % (own, headers, body))
        self.on_response_complete()

    def give_up(self, call: Call) -> None:
        """Let the application answer."""
        self._call, call.open = None, False
        if call.late:
            call.late.cancel()
        self.scope["state"]["began"] = call.began
        super().on_headers_complete()
        super().on_body(call.body)
        if call.whole:
            super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._call:
            self.give_up(self._call)  # the application tells of clients that leave
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self._call:
            self.give_up(self._call)
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        call = self._call
        if call is None or call.taken or self._express is None:
            return
        if not call.whole:
            call.late = call.late or self.loop.call_later(SOON, self.give_up, call)
            return
        if call.late:
            call.late.cancel()
        call.taken = True
        self._express.take(call)

    def on_message_begin(self) -> None:
        if self._call:
            self.give_up(self._call)  # another one follows before this one's answer; the application keeps the order
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        method = self.parser.get_method()
        if self._express and self._express.wants(method, self.url, self.headers) and self._is_plain():
            self._heard()
            self._call = Call(self, self.headers, time.monotonic())
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._call:
            self._heard()
            self._call.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._call:
            self._heard()
            self._call.whole = True
        else:
            super().on_message_complete()

    def _is_plain(self) -> bool:
        """Whether a reply is all that is expected: none is under way, and the connection goes on after it."""
        return (
            (self.cycle is None or self.cycle.response_complete)
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
            and not self.expect_100_continue
            and not self.root_path
            and self.listens
        )
