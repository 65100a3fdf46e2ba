"""uvicorn's HTTP/1.1 protocol with some of its bugs fixed, passed to uvicorn as ``http=``.

It sends no replies itself. If the bytes are no valid request, the app answers with the error, so that the log and the
metrics have it too.
"""

import asyncio
import logging
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import DigitsError, HeadTooLarge, MalformedRequest, Overloaded, Stalled

# Most bytes of a request line and headers, or of a chunk's header or a trailer. The parser keeps them in memory.
MAX_HEAD_BYTES = 64 * 2**10

# Time for a request's head, and for a connection that sends nothing. ``api.bodies`` has a timeout of its own.
HEAD_TIMEOUT_SECONDS = 30.0

# Time for one more request on an idle connection after the server was told to stop.
LAST_REQUEST_SECONDS = 0.5

_REFUSED_REQUEST = b"GET / HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n"

_log = logging.getLogger("digits")


class HttpProtocol(HttpToolsProtocol):
    """Fixes these bugs of uvicorn 0.54.

    - A request with an Upgrade header, such as Java's HttpClient sends for h2c, loses its body
      (https://github.com/Kludex/uvicorn/issues/2722). RFC 9110, 7.8 allows a server to ignore the header.
    - A request's head has no timeout and no size limit (https://github.com/Kludex/uvicorn/issues/157). Neither has a
      connection that sends nothing, or whose request was answered before its body arrived
      (https://github.com/Kludex/uvicorn/pull/1192).
    - The keep-alive timer of a connection that was reset stays, and holds its memory
      (https://github.com/Soju06/codex-lb/issues/2041).
    - A stopping server resets a connection whose request is just arriving
      (https://github.com/Kludex/uvicorn/pull/3124).
    - ``GET http://host HTTP/1.1`` is refused (https://github.com/Kludex/uvicorn/issues/3097).
    - Replies with status 400 and 503 are plain text and not logged.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take uvicorn's arguments."""
        super().__init__(*args, **kwargs)
        self.max_connections, self.limit_concurrency = self.limit_concurrency, None
        self.refusal: DigitsError | None = None
        self.head_timer: asyncio.TimerHandle | None = None
        self.head_bytes = 0
        self.is_stopping = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's signature
        """Start the timer of the first head."""
        super().connection_made(transport)
        self.start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel all timers."""
        self.progress()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser. At a request with an Upgrade header, which ends it, feed a new one without that header."""
        if self.refusal is not None:
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        self.head_bytes += len(data)
        pieces = [memoryview(data)]  # a stack: the next piece is last
        try:
            while pieces:
                piece = pieces.pop()
                try:
                    self.parser.feed_data(piece)
                except httptools.HttpParserUpgrade as upgrade:
                    if self.offers_upgrade():
                        pieces += [piece[upgrade.args[0] :], memoryview(self.head_without_upgrade())]
                        self.parser = httptools.HttpRequestParser(self)
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, httptools.HttpParserInvalidURLError | UnicodeError):
                self.refuse(MalformedRequest("the request's target is not a URL; send a path such as /predict"))
            else:
                _log.exception("unexpected error in the HTTP protocol")
                self.transport.close()
        except httptools.HttpParserError:
            self.refuse(MalformedRequest("this is not an HTTP/1.1 request; send one, or use another port"))
        else:
            if self.head_bytes > MAX_HEAD_BYTES:
                limit = f"{MAX_HEAD_BYTES:,} bytes"
                self.refuse(HeadTooLarge(f"the head of the request is larger than {limit}; send fewer headers"))
            elif self.head_bytes or self.is_idle():
                self.start_timer()

    def on_message_begin(self) -> None:
        """Pass the error of a refused request to the app."""
        super().on_message_begin()
        if self.refusal is not None:
            self.scope["state"]["refusal"] = self.refusal

    def on_headers_complete(self) -> None:
        """Start the request, unless it will be parsed again without its Upgrade header."""
        self.progress()
        if self.offers_upgrade():
            return
        if not self.url.startswith(b"/"):
            parts = httptools.parse_url(self.url)
            self.url = (parts.path or b"/") + (b"?" + parts.query if parts.query else b"")
        if self.max_connections is not None and len(self.connections) > self.max_connections:
            self.scope["state"]["refusal"] = Overloaded()
        super().on_headers_complete()
        if self.is_stopping:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body to the app."""
        self.progress()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request, unless it will be parsed again without its Upgrade header."""
        self.progress()
        if not self.offers_upgrade():
            super().on_message_complete()

    def shutdown(self) -> None:
        """Close the connection: an idle one after its next reply, or after LAST_REQUEST_SECONDS."""
        self.is_stopping = True
        if self.is_idle():
            self.loop.call_later(LAST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def is_idle(self) -> bool:
        """Return whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def start_timer(self) -> None:
        """Start the timer that ``progress`` cancels, unless it runs already."""
        if self.head_timer is None:
            self.head_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self.time_out)

    def progress(self) -> None:
        """Reset the size and the timer: a head, a piece of a body or a request is complete."""
        self.head_bytes = 0
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def time_out(self) -> None:
        """Refuse a request whose head is incomplete; close a connection that sent nothing."""
        self.head_timer = None
        if self.head_bytes:
            seconds = f"{HEAD_TIMEOUT_SECONDS:g} seconds"
            self.refuse(Stalled(f"no more of the request arrived for {seconds}; send it again"))
        elif self.is_idle():
            self.transport.close()

    def refuse(self, error: DigitsError) -> None:
        """Have the app answer with an error, and close the connection.

        Args:
            error: Why the request is refused. A valid request in its place carries it to the app.
        """
        self.refusal = error
        if not self.is_idle():
            if self.cycle.response_started:
                self.transport.close()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.cycle = None  # type: ignore[assignment]  # as before the first request
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(_REFUSED_REQUEST)

    def offers_upgrade(self) -> bool:
        """Return whether the request has an Upgrade header that the parser stops at."""
        return self.parser.should_upgrade() and any(name == b"upgrade" for name, _ in self.headers)

    def head_without_upgrade(self) -> bytes:
        """Return the head of the request without its Upgrade header."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join(lines) + b"\r\n\r\n"
