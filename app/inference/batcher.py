"""Runs images that arrive together in one batch."""

import asyncio
import heapq
import itertools
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from app.errors import Overloaded, TooLate
from app.inference.engine import Images, Probabilities
from app.inference.ensemble import Cascade

# A call that waits behind more runs than these, several milliseconds each, may outlive its client.
CONGESTED_RUNS = 8


@dataclass(eq=False, slots=True)
class _Call:
    """Images of one caller.

    Attributes:
        taken: How many of them a fast first stage was given.
        begun: Whether any of them has run.
        open: How many rows are not final yet.
    """

    images: Images
    deadline: float
    result: asyncio.Future[Probabilities]
    rows: Probabilities
    taken: int = 0
    begun: bool = False
    open: int = field(init=False)

    def __post_init__(self) -> None:
        self.open = len(self.images)


class Batcher:
    """Feeds the stages of a cascade; belongs to one event loop.

    A fast first stage takes less time than a change of threads, so it runs on the event loop, and what was submitted
    in one turn of the loop runs together. Images that it leaves undecided go on in a thread, where what is submitted
    during one run forms the next batch. There is no timer: a single image runs at once.

    It needs no closing. When nobody refers to it any more, its executor is collected and the thread ends.
    """

    def __init__(
        self,
        cascade: Cascade,
        observe: Callable[[int], None] = lambda size: None,
        max_waiting: float = math.inf,
    ) -> None:
        """Start with nothing to run.

        Args:
            cascade: The networks.
            observe: Told the size of every batch of the first stage.
            max_waiting: Most images that wait.
        """
        self._stages, self._is_fast = cascade.stages, cascade.is_fast
        self._observe, self._max_waiting = observe, max_waiting
        self._waiting = 0  # images
        self._calls: deque[_Call] = deque()  # for a fast first stage
        self._turn_comes = False
        # By stage, images for the thread: those of small calls first, then in their order.
        self._queues: list[list[tuple[bool, int, _Call, int]]] = [[] for _ in self._stages]
        self._numbers = itertools.count()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._thread_runs = False

    @property
    def congested(self) -> bool:
        """Whether so much waits that a client may well have left before its turn."""
        return self._waiting > CONGESTED_RUNS * self._stages[0].max_batch_size

    def admit(self, images: int = 1) -> None:
        """Raises Overloaded when so many more images cannot wait. Where none waits, any number may."""
        if self._waiting and self._waiting + images > self._max_waiting:
            raise Overloaded()

    def submit(self, images: Images, deadline: float = math.inf) -> asyncio.Future[Probabilities]:
        """Queue images.

        Args:
            images: uint8 (n, 28, 28), at least one.
            deadline: On the clock of ``time.monotonic``.

        Returns:
            A future of float32 (n, 10). TooLate where no image ran by the deadline. Cancel it to spare the runs.

        Raises:
            Overloaded: Too many images wait.
        """
        self.admit(len(images))
        loop = asyncio.get_running_loop()
        call = _Call(images, deadline, loop.create_future(), np.empty((len(images), 10), np.float32))
        self._waiting += len(images)
        call.result.add_done_callback(lambda _: self._leave(len(images)))
        if self._is_fast:
            self._calls.append(call)
            if not self._turn_comes:
                self._turn_comes = True
                loop.call_soon(self._turn)
        else:
            self._queue(0, call, range(len(images)))
            self._run_in_thread()
        return call.result

    def _leave(self, images: int) -> None:
        self._waiting -= images

    def _turn(self) -> None:
        """Run one batch of a fast first stage, and come back in the next turn of the loop while there is more."""
        parts = self._take()
        self._turn_comes = bool(self._calls)
        if self._calls:
            asyncio.get_running_loop().call_soon(self._turn)
        if parts:
            self._run_on_loop(parts)
            self._run_in_thread()

    def _take(self) -> list[tuple[_Call, int, int]]:
        """The images of the next batch, as parts of calls. Calls that do not fit take turns."""
        parts: list[tuple[_Call, int, int]] = []
        room, now = self._stages[0].max_batch_size, time.monotonic()
        for _ in range(len(self._calls)):
            call = self._calls.popleft()
            if _is_over(call, now):
                continue
            start, call.taken = call.taken, min(call.taken + room, len(call.images))
            call.begun = True
            parts.append((call, start, call.taken))
            room -= call.taken - start
            if call.taken < len(call.images):
                self._calls.append(call)
            if not room:
                break
        return parts

    def _run_on_loop(self, parts: list[tuple[_Call, int, int]]) -> None:
        images = [call.images[start:stop] for call, start, stop in parts]
        stage = self._stages[0]
        try:
            batch = images[0] if len(images) == 1 else np.concatenate(images)
            self._observe(len(batch))
            rows = stage.predict(batch)
        except Exception as error:  # it belongs to those who wait
            _fail([call for call, _, _ in parts], error)
            return
        undecided, first = stage.undecided(rows), 0
        for call, start, stop in parts:
            last = first + stop - start
            call.rows[start:stop] = rows[first:last]
            places = [start + place - first for place in undecided if first <= place < last]
            self._queue(1, call, places)
            _settle(call, stop - start - len(places))
            first = last

    def _queue(self, stage: int, call: _Call, places: "list[int] | range") -> None:
        large = len(call.images) > self._stages[stage].max_batch_size
        for place in places:
            heapq.heappush(self._queues[stage], (large, next(self._numbers), call, place))

    def _run_in_thread(self) -> None:
        """Start the next run of the thread, if it has none."""
        if self._thread_runs:
            return
        while waiting := [number for number, queue in enumerate(self._queues) if queue]:
            number = min(waiting, key=lambda number: self._queues[number][0][:2])
            batch = self._pop(number)
            if batch:
                break
        else:
            return
        images = np.stack([call.images[place] for call, place in batch])
        if number == 0:
            self._observe(len(images))
        self._thread_runs = True
        run = asyncio.get_running_loop().run_in_executor(self._thread, self._stages[number].predict, images)
        run.add_done_callback(lambda run: self._ran(number, batch, run))

    def _pop(self, number: int) -> list[tuple[_Call, int]]:
        queue, batch, now = self._queues[number], list[tuple[_Call, int]](), time.monotonic()
        while queue and len(batch) < self._stages[number].max_batch_size:
            _, _, call, place = heapq.heappop(queue)
            if not _is_over(call, now):
                call.begun = True
                batch.append((call, place))
        return batch

    def _ran(self, number: int, batch: list[tuple[_Call, int]], run: asyncio.Future[Probabilities]) -> None:
        self._thread_runs = False
        if error := run.exception():
            _fail([call for call, _ in batch], error)
        else:
            rows = run.result()
            undecided = self._stages[number].undecided(rows)
            for row, (call, place) in enumerate(batch):
                call.rows[place] = rows[row]
                if row in undecided:
                    self._queue(number + 1, call, [place])
                else:
                    _settle(call, 1)
        self._run_in_thread()


def _is_over(call: _Call, now: float) -> bool:
    """Whether nobody waits for a call any more, or no image of it has run by its deadline."""
    if not call.result.done() and now > call.deadline and not call.begun:
        call.result.set_exception(TooLate())
    return call.result.done()


def _settle(call: _Call, rows: int) -> None:
    """So many more rows are final."""
    call.open -= rows
    if not call.open and not call.result.done():
        call.result.set_result(call.rows)


def _fail(calls: list[_Call], error: BaseException) -> None:
    for call in calls:
        if not call.result.done():
            call.result.set_exception(error)
