"""uvicorn's HTTP/1.1 protocol with some faults repaired, given to uvicorn as ``http=``.

It answers nothing by itself. What cannot become a request, the app is asked to refuse, so that its replies, logs and
metrics have it too.
"""

import asyncio
import logging
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.errors import DigitsError, HeadTooLarge, MalformedRequest, Overloaded, Stalled

# Bytes without the end of a head, a piece of a body, or the end of a request. They are kept in memory.
MAX_HEAD_BYTES = 64 * 2**10

# Time for a request's head, and for a connection that is not used at all. ``api.bodies`` has its own for bodies.
HEAD_TIMEOUT_SECONDS = 30.0

# Time that an idle connection has for one more request when the server stops.
LAST_REQUEST_SECONDS = 0.5

_REFUSED_REQUEST = b"GET / HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n"

_log = logging.getLogger("digits")


class HttpProtocol(HttpToolsProtocol):
    """Repairs of uvicorn 0.54.

    - A request that offers another protocol, as Java's HttpClient does with h2c, loses its body
      (https://github.com/Kludex/uvicorn/issues/2722). RFC 9110, 7.8 lets a server ignore the offer.
    - A head has no limit of time or size (https://github.com/Kludex/uvicorn/issues/157), and neither has a connection
      that is never used, or whose request was answered before its body came
      (https://github.com/Kludex/uvicorn/pull/1192).
    - The keep-alive timer outlives a connection that was reset, and holds its memory
      (https://github.com/Soju06/codex-lb/issues/2041).
    - A stopping server resets a connection whose request is just coming
      (https://github.com/Kludex/uvicorn/pull/3124).
    - ``GET http://host HTTP/1.1`` is refused (https://github.com/Kludex/uvicorn/issues/3097).
    - 400 and 503 are plain text and not logged.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take uvicorn's arguments."""
        super().__init__(*args, **kwargs)
        self.max_connections, self.limit_concurrency = self.limit_concurrency, None
        self.refusal: DigitsError | None = None
        self.head_timer: asyncio.TimerHandle | None = None
        self.head_bytes = 0
        self.is_stopping = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
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
        """Feed the parser. It ends at a request that offers another protocol, and goes on without the offer."""
        if self.refusal is not None:
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        self.head_bytes += len(data)
        pieces = [memoryview(data)]  # the next one last
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
                self.refuse(MalformedRequest("the request's target is no URL; send a path such as /predict"))
            else:
                _log.exception("unexpected error in the HTTP protocol")
                self.transport.close()
        except httptools.HttpParserError:
            self.refuse(MalformedRequest("this is no HTTP/1.1 request; send one, or take another port"))
        else:
            if self.head_bytes > MAX_HEAD_BYTES:
                limit = f"{MAX_HEAD_BYTES:,} bytes"
                self.refuse(HeadTooLarge(f"the head of the request is larger than {limit}; send fewer headers"))
            elif self.head_bytes or self.is_idle():
                self.start_timer()

    def on_message_begin(self) -> None:
        """Let the app see a refusal."""
        super().on_message_begin()
        if self.refusal is not None:
            self.scope["state"]["refusal"] = self.refusal

    def on_headers_complete(self) -> None:
        """Start the request, but not at an offer that is ignored."""
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
        """Pass a piece of the body on."""
        self.progress()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request, but not at an offer that is ignored."""
        self.progress()
        if not self.offers_upgrade():
            super().on_message_complete()

    def shutdown(self) -> None:
        """Let an idle connection end with the reply to its next request, or soon."""
        self.is_stopping = True
        if self.is_idle():
            self.loop.call_later(LAST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def start_timer(self) -> None:
        """Limit the time until ``progress``, if it is not limited already."""
        if self.head_timer is None:
            self.head_timer = self.loop.call_later(HEAD_TIMEOUT_SECONDS, self.time_out)

    def progress(self) -> None:
        """Something whole came: start to count anew."""
        self.head_bytes = 0
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def time_out(self) -> None:
        """Refuse a request whose head does not end; close a connection that is not used."""
        self.head_timer = None
        if self.head_bytes:
            seconds = f"{HEAD_TIMEOUT_SECONDS:g} seconds"
            self.refuse(Stalled(f"nothing more of the request came for {seconds}; send it again"))
        elif self.is_idle():
            self.transport.close()

    def refuse(self, error: DigitsError) -> None:
        """Ask the app to answer with an error, in place of a request that cannot be had, and close the connection."""
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
        """Whether the request offers another protocol."""
        return self.parser.should_upgrade() and any(name == b"upgrade" for name, _ in self.headers)

    def head_without_upgrade(self) -> bytes:
        """The head of the request once more, without the offer."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join(lines) + b"\r\n\r\n"
