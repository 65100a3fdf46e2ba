"""Runs images that arrive together in one batch."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
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
        network_only: Whether the answer of the first stage in the thread stands.
        open: How many rows are not final yet.
    """

    images: Images
    deadline: float
    result: asyncio.Future[Probabilities]
    rows: Probabilities
    taken: int = 0
    begun: bool = False
    network_only: bool = False
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
        # By stage, calls with the places of their images that wait for the thread.
        self._queues: list[deque[tuple[_Call, deque[int]]]] = [deque() for _ in self._stages]
        self._stage = 0  # of the last run in the thread
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

    def submit(
        self, images: Images, deadline: float = math.inf, *, network_only: bool = False
    ) -> asyncio.Future[Probabilities]:
        """Queue images.

        Args:
            images: uint8 (n, 28, 28), at least one.
            deadline: On the clock of ``time.monotonic``.
            network_only: Ask one stage alone, the one after a fast first stage: the network without test-time
                augmentation.

        Returns:
            A future of float32 (n, 10). TooLate where no image ran by the deadline. Cancel it to spare the runs.

        Raises:
            Overloaded: Too many images wait.
        """
        self.admit(len(images))
        loop = asyncio.get_running_loop()
        call = _Call(images, deadline, loop.create_future(), np.empty((len(images), 10), np.float32))
        call.network_only = network_only
        self._waiting += len(images)
        call.result.add_done_callback(lambda _: self._leave(len(images)))
        if self._is_fast and not network_only:
            self._calls.append(call)
            if not self._turn_comes:
                self._turn_comes = True
                loop.call_soon(self._turn)
        else:
            self._queue(int(self._is_fast), call, range(len(images)))
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
        try:
            rows = self._predict(0, images[0] if len(images) == 1 else np.concatenate(images))
        except Exception as error:  # it belongs to those who wait
            _fail([call for call, _, _ in parts], error)
            return
        undecided, first = self._stages[0].undecided(rows), 0
        for call, start, stop in parts:
            last = first + stop - start
            call.rows[start:stop] = rows[first:last]
            places = [start + place - first for place in undecided if first <= place < last]
            self._queue(1, call, places)
            _settle(call, stop - start - len(places))
            first = last

    def _queue(self, stage: int, call: _Call, places: Sequence[int]) -> None:
        """Let images of a call wait for a stage in the thread."""
        if places:
            self._queues[stage].append((call, deque(places)))

    def _run_in_thread(self) -> None:
        """Start the next run of the thread, if it has none. Stages take turns."""
        while not self._thread_runs and any(self._queues):
            self._stage = (self._stage + 1) % len(self._stages)
            if batch := self._pop(self._stage):
                self._start(self._stage, batch)

    def _pop(self, stage: int) -> list[tuple[_Call, int]]:
        """The next batch of a stage: an image of each call by turns, so that nobody waits for all of a large call."""
        batch, now = list[tuple[_Call, int]](), time.monotonic()
        queue = self._queues[stage]
        while queue and len(batch) < self._stages[stage].max_batch_size:
            call, places = queue.popleft()
            if _is_over(call, now):
                continue
            call.begun = True
            batch.append((call, places.popleft()))
            if places:
                queue.append((call, places))
        return batch

    def _predict(self, stage: int, images: Images) -> Probabilities:
        if stage == 0:
            self._observe(len(images))
        return self._stages[stage].predict(images)

    def _start(self, stage: int, batch: list[tuple[_Call, int]]) -> None:
        images = np.stack([call.images[place] for call, place in batch])
        self._thread_runs = True
        run = asyncio.get_running_loop().run_in_executor(self._thread, self._predict, stage, images)
        run.add_done_callback(lambda run: self._ran(stage, batch, run))

    def _ran(self, stage: int, batch: list[tuple[_Call, int]], run: asyncio.Future[Probabilities]) -> None:
        self._thread_runs = False
        if error := run.exception():
            _fail([call for call, _ in batch], error)
        else:
            rows = run.result()
            undecided, going_on = self._stages[stage].undecided(rows), dict[_Call, list[int]]()
            for row, (call, place) in enumerate(batch):
                call.rows[place] = rows[row]
                if row in undecided and not call.network_only:
                    going_on.setdefault(call, []).append(place)
                else:
                    _settle(call, 1)
            for call, places in going_on.items():
                self._queue(stage + 1, call, places)
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
