"""The short way to an answer for the requests that nearly all are."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from app import logs
from app.errors import DigitsError
from app.http import access
from app.http.metrics import Metrics
from app.http.protocol import Call, Headers
from app.http.replies import JSON, judge, prediction, readings
from app.http.uploads import Pixels, parse_one, unpacked
from app.inference.engine import Probabilities
from app.inference.live import Live
from app.inference.serving import Serving
from app.vision.ink import Grey, Levels
from app.vision.read import Sight, read_grey, read_plain, stack

_log = logging.getLogger("digits")

PATH = "/predict"
_URL = PATH.encode()

# Bodies up to this size are understood on the event loop: a digit as MNIST has it takes about as long as handing it to
# a thread and back.
INLINE_BYTES = 4096

# Requests that are answered together. Those beyond wait for the next turn of the loop, so that others come between.
MOST = 16


class Express:
    """Answers requests for the digit on one picture of 28x28, when the network is sure of it at a glance. Its ``wants``
    and ``take`` are those of ``protocol.Express``.

    What came in one turn of the event loop is read, looked at and answered together, without the task, the messages and
    the objects of a framework for each request, which cost more than the reading. Anything else is given up: the
    application answers it, so this refuses nothing and has no errors to tell of.
    """

    def __init__(self, serving: Serving, metrics: Metrics, deadline: float) -> None:
        """deadline: seconds that a request may wait for the network."""
        self._serving, self._metrics, self._deadline = serving, metrics, deadline
        self._calls: list[Call] = []

    def wants(self, method: bytes, url: bytes, headers: Headers) -> bool:
        if url != _URL or method != b"POST":
            return False
        length = access.header(headers, b"content-length")
        return length.isdigit() and int(length) <= INLINE_BYTES

    def take(self, call: Call) -> None:
        if not self._calls:
            asyncio.get_running_loop().call_soon(self._turn)
        self._calls.append(call)

    def _turn(self) -> None:
        calls, self._calls = self._calls[:MOST], self._calls[MOST:]
        if self._calls:
            asyncio.get_running_loop().call_soon(self._turn)
        self._safely(calls, self._look, [call for call in calls if call.open])

    def _safely(self, calls: Sequence[Call], function: Callable[..., None], *arguments: Any) -> None:
        """Whatever happens, nobody waits for an answer in vain."""
        try:
            function(*arguments)
        except DigitsError:
            _give_up(calls)
        except Exception:
            _log.exception("the short way failed")
            _give_up(calls)

    def _look(self, calls: Sequence[Call]) -> None:
        read = [(call, levels) for call in calls if not self._is_late(call) and (levels := _read(call)) is not None]
        chosen, pictures = [call for call, _ in read], [levels for _, levels in read]
        _give_up([call for call in calls if call not in chosen])
        if chosen:
            found = read_plain(stack(pictures))
            sights = [plain or read_grey(levels) for plain, levels in zip(found, pictures, strict=True)]
            self._answer(self._serving.live, chosen, sights)

    def _is_late(self, call: Call) -> bool:
        return time.monotonic() > call.began + self._deadline

    def _answer(self, live: Live, calls: Sequence[Call], sights: Sequence[Sight]) -> None:
        """Now, or when the engine's thread has done it. Raises Overloaded."""
        live.batcher.admit(len(calls))
        images = stack([sight.image for sight in sights])
        if seen := live.batcher.glance(images):
            self._reply(live, calls, sights, *seen)
            return

        def tell(answer: asyncio.Future[Probabilities]) -> None:
            self._safely(calls, lambda: self._reply(live, calls, sights, answer.result(), ()))

        live.batcher.submit(images, calls[0].began + self._deadline).add_done_callback(tell)

    def _reply(
        self, live: Live, calls: Sequence[Call], sights: Sequence[Sight], rows: Probabilities, unsure: Collection[int]
    ) -> None:
        """unsure: places of those that the network wants to look at again."""
        chosen = []
        for place, call in enumerate(calls):
            if place in unsure or not call.connection.listens:
                _give_up([call])
            elif call.open:
                chosen.append(place)
        rows = rows[chosen]
        said = readings(rows, judge([sights[place].doubt for place in chosen], rows, live, self._metrics))
        replies = [
            (calls[place], access.request_id(calls[place].headers), prediction(live, reading))
            for place, reading in zip(chosen, said, strict=True)
        ]
        # One after the other with nothing between: a client that the first of them wakes up would take the core
        # meanwhile. One by one, a fifth fewer requests were answered.
        for call, identifier, body in replies:
            head = f"content-length: {len(body)}\r\ncontent-type: {JSON}\r\nx-request-id: {identifier}\r\n"
            call.connection.reply(call, head.encode(), body)
        logs.answered([self._done(call, identifier, live) for call, identifier, _ in replies])

    def _done(self, call: Call, identifier: str, live: Live) -> dict[str, Any]:
        """Count a request; its line in the log."""
        seconds = time.monotonic() - call.began
        self._metrics.request("POST", PATH, 200, seconds)
        return access.line(identifier, "POST", PATH, 200, seconds, live.card.version)


def _read(call: Call) -> Grey | Levels | None:
    """The pixels of a picture of 28x28 in the plainest of forms; None of any other, and of what is none."""
    try:
        upload = unpacked(parse_one(call.body, access.header(call.headers, b"content-type").decode("latin-1")))
    except DigitsError:
        return None
    return upload.brightness if isinstance(upload, Pixels) else None


def _give_up(calls: Sequence[Call]) -> None:
    for call in calls:
        if call.open:
            call.connection.give_up(call)
