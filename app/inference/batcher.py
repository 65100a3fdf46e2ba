"""Gathers what arrives while the engine runs into the next batch."""

import asyncio
import contextlib
import itertools
import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import numpy as np
from numpy.typing import NDArray

from app.errors import Overloaded, TooLate
from app.inference.engine import Engine, Images, Probabilities

Answer = asyncio.Future[Probabilities]

# Runs of the engine, several ms, that are worth listening for clients that leave: that costs each two tasks more.
LONG_WAIT = 8


class Batcher:
    """Feeds two engines of one network, in a thread beside the event loop and on the loop itself.

    An engine blocks, so it runs beside the event loop, but for lone images (``at_once``); it is not for two threads at
    once, so each has its own. No timer: a lone call runs at once, and what comes meanwhile forms the next batch.
    Calls that fit in one run take turns with parts of larger ones, and with second looks, each of which is a run, so
    that a lone image waits for one run at most, whatever else is asked.

    It ends by itself when nobody refers to it any more. Then nobody waits for it either, as a request that waits
    refers to it, and nobody can call it again; no count of users could be surer.
    """

    def __init__(
        self,
        engine: Engine,
        own: Engine,
        limit: int,
        observe: Callable[[int], None] = lambda size: None,
        most_waiting: float = math.inf,
        beside: bool = True,
    ) -> None:
        """engine: for the thread. own: for the event loop. limit: most images in one run. observe: told the size of
        every run. most_waiting: images.
        beside: whether the thread has a core of its own. Then several lone images are better left to it; where it has
        none, to change threads only costs time.
        """
        self._limit, self._most_waiting, self._beside = limit, most_waiting, beside
        self._own, self._observe = own, observe
        self._lone: deque[_Lone] = deque()
        self._runner = _Runner(engine, limit, observe)
        # A daemon, since Python waits at its end for any other, and this one waits for work.
        self._thread = threading.Thread(target=self._runner.run, name="inference", daemon=True)
        self._thread.start()
        self._end = weakref.finalize(self, self._runner.arrivals.put, None)

    @property
    def congested(self) -> bool:
        """Whether so much waits that a new call's client may well have left before its turn."""
        return self._runner.waiting > LONG_WAIT * self._limit

    def admit(self, images: int = 1) -> None:
        """Raises Overloaded when so many more images cannot wait. Where none waits, any number may."""
        waiting = self._runner.waiting + len(self._lone)
        if waiting and waiting + images > self._most_waiting:
            raise Overloaded()

    async def at_once(self, image: NDArray[np.uint8], deadline: float = math.inf) -> NDArray[np.float32] | None:
        """The answer for a lone image, (28, 28) to (10,), or None where it is for the thread to answer: see ``submit``.
        Raises TooLate.

        It runs on the event loop, which spares the image two changes of threads. Whatever came in the same turn of the
        loop has been taken in when the first of them goes on here, and is answered with it.
        """
        call = _Lone(image)
        self._lone.append(call)
        try:
            await asyncio.sleep(0)
            if call.row is None:
                if self._left_to_the_thread(len(self._lone)):
                    return None
                if len(self._lone) > 1 and time.monotonic() > deadline:  # a lone one waited for nothing
                    raise TooLate()
                self._answer_lone()
        finally:
            if call.row is None:
                self._lone.remove(call)
        if call.unsure:
            await asyncio.sleep(0)  # whoever is sure goes first
            return self._own.look_again(image)
        return call.row

    def glance(self, images: Images) -> tuple[Probabilities, list[int]] | None:
        """What the event loop's own engine sees at a glance, uint8 (n, 28, 28) to float32 (n, 10), at most as many as
        fit in one run; and the places of those that want a second look. None where they are for the thread.
        """
        if self._left_to_the_thread(len(images) + len(self._lone)):
            return None
        return self._glance(images)

    def _left_to_the_thread(self, images: int) -> bool:
        """Whether so many are better off there: beside the event loop, in one batch with others."""
        return self._beside and (images > 1 or self._runner.waiting_small > 0)

    def _answer_lone(self) -> None:
        """Those that came first, as many as fit in one run."""
        batch = list(itertools.islice(self._lone, self._limit))
        images = np.stack([call.image for call in batch]) if len(batch) > 1 else batch[0].image[None]
        rows, unsure = self._glance(images)
        for place, call in enumerate(batch):
            call.row, call.unsure = rows[place], place in unsure
            self._lone.popleft()

    def _glance(self, images: Images) -> tuple[Probabilities, list[int]]:
        self._observe(len(images))
        rows = self._own.glance(images)
        return rows, self._own.unsure(rows)

    def submit(self, images: Images, deadline: float = math.inf) -> Answer:
        """The answer to come: uint8 (n, 28, 28) to float32 (n, 10). More than the limit go through in several runs.

        deadline: on the clock of time.monotonic; the answer is TooLate where nothing was run by then. Whoever cancels
        the answer spares the engine the run. Raises Overloaded.
        """
        self.admit(len(images))
        answer: Answer = asyncio.get_running_loop().create_future()
        self._runner.count(len(images))
        self._runner.arrivals.put(_Call(images, answer, deadline, np.empty((len(images), 10), np.float32)))
        return answer

    def close(self) -> None:
        """Answer what was submitted, and end the thread."""
        self._end()
        self._thread.join()


@dataclass(eq=False, slots=True)
class _Lone:
    """An image that the event loop may answer, and what the engine said of it at a glance."""

    image: NDArray[np.uint8]
    row: NDArray[np.float32] | None = None
    unsure: bool = False


@dataclass(eq=False, slots=True)
class _Call:
    """One caller's images, and the rows that the engine gave at a glance for the first ``done`` of them.

    unsure: places of the images that are still to be looked at again.
    """

    images: Images
    answer: Answer
    deadline: float
    rows: Probabilities
    done: int = 0
    unsure: list[int] = field(default_factory=list)

    @property
    def glanced(self) -> bool:
        return self.done == len(self.images)


class _Runner:
    """What the thread works on. It must not know the Batcher, which ends when nobody does."""

    def __init__(self, engine: Engine, limit: int, observe: Callable[[int], None]) -> None:
        self.arrivals: SimpleQueue[_Call | None] = SimpleQueue()  # None: no more will come
        # Images that were submitted and not answered, and those of calls that fit in one run; only the event loop
        # changes them.
        self.waiting = self.waiting_small = 0
        self._engine, self._limit, self._observe = engine, limit, observe
        self._small: deque[_Call] = deque()  # that fit in one run and wait for it
        self._large: deque[_Call] = deque()  # that take several, for their number or for second looks
        self._large_next = False

    def count(self, images: int) -> None:
        """More, or less than 0 fewer, images of one call wait."""
        self.waiting += images
        if abs(images) <= self._limit:
            self.waiting_small += images

    def run(self) -> None:
        more = True
        while more or self._small or self._large:
            more = self._take_in(more)
            if batch := self._next():
                self._run(batch)

    def _take_in(self, more: bool) -> bool:
        """Sort what has come; where there is nothing to do, wait for it. Whether more will come."""
        with contextlib.suppress(Empty):
            while more:
                call = self.arrivals.get(block=not (self._small or self._large))
                if call is None:
                    more = False
                else:
                    (self._small if len(call.images) <= self._limit else self._large).append(call)
        return more

    def _next(self) -> list[_Call]:
        """The calls of the next run: one that takes several, for a part of it, or as many small ones as fit."""
        if self._large and (self._large_next or not self._small):
            self._large_next = False
            call = self._large.popleft()
            return [] if self._drop(call) else [call]
        self._large_next = True
        batch: list[_Call] = []
        room = self._limit
        while self._small and len(self._small[0].images) <= room:
            call = self._small.popleft()
            if not self._drop(call):
                batch.append(call)
                room -= len(call.images)
        return batch

    def _drop(self, call: _Call) -> bool:
        """Whether nobody waits for the answer any more, or it comes too late; then it is not worth a run."""
        late = not call.done and time.monotonic() > call.deadline
        if late or call.answer.done():
            self._tell([(call, TooLate())])
            return True
        return False

    def _run(self, batch: list[_Call]) -> None:
        try:
            if batch[0].glanced:
                (call,) = batch
                place = call.unsure.pop()
                call.rows[place] = self._engine.look_again(call.images[place])
            else:
                self._glance(batch)
        except Exception as error:  # whatever the runtime raises belongs to those who wait
            self._tell([(call, error) for call in batch])
            return
        over = [call for call in batch if call.glanced and not call.unsure]
        self._large += [call for call in batch if call not in over]  # behind the others there
        self._tell([(call, call.rows) for call in over])

    def _glance(self, batch: list[_Call]) -> None:
        parts = [call.images[call.done : call.done + self._limit] for call in batch]
        images = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self._observe(len(images))
        rows = self._engine.glance(images)
        unsure = self._engine.unsure(rows)
        start = 0
        for call, part in zip(batch, parts, strict=True):
            end = start + len(part)
            call.rows[call.done : call.done + len(part)] = rows[start:end]
            call.unsure += [call.done + place - start for place in unsure if start <= place < end]
            call.done += len(part)
            start = end

    def _tell(self, answers: Sequence[tuple[_Call, Probabilities | Exception]]) -> None:
        if answers:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
                answers[0][0].answer.get_loop().call_soon_threadsafe(self._settle, answers)

    def _settle(self, answers: Sequence[tuple[_Call, Probabilities | Exception]]) -> None:
        """On the event loop."""
        for call, answer in answers:
            self.count(-len(call.images))
            if call.answer.done():
                continue
            if isinstance(answer, Exception):
                call.answer.set_exception(answer)
            else:
                call.answer.set_result(answer)
