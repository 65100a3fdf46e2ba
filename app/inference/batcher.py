"""Batches the images of concurrent requests."""

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

# With more runs than this in the queue, several milliseconds each, a client may disconnect before its turn.
CONGESTED_RUNS = 8


@dataclass(eq=False, slots=True)
class _Call:
    """The images of one caller.

    Attributes:
        images: uint8 (n, 28, 28).
        deadline: Time by which an image must run, on the clock of ``time.monotonic``.
        future: Set to ``rows`` when all of them are final.
        rows: float32 (n, 10), filled as images run.
        next_image: Index of the next image for a fast first stage.
        has_started: Whether any image has run.
        network_only: Whether the answer of the first stage in the thread is final.
        pending_rows: Number of rows that are not final.
    """

    images: Images
    deadline: float
    future: asyncio.Future[Probabilities]
    rows: Probabilities
    next_image: int = 0
    has_started: bool = False
    network_only: bool = False
    pending_rows: int = field(init=False)

    def __post_init__(self) -> None:
        self.pending_rows = len(self.images)


class Batcher:
    """Runs the stages of a cascade in batches, for one event loop.

    A fast first stage takes less time than a change of threads, so it runs on the event loop: the images that were
    submitted in one turn of the loop form a batch. Later stages run in a thread: the images that arrive during one run
    form the next batch. There is no timer, so a single image runs at once.

    It needs no closing: the thread ends when the batcher is garbage collected.
    """

    def __init__(
        self,
        cascade: Cascade,
        observe: Callable[[int], None] = lambda size: None,
        max_waiting: float = math.inf,
    ) -> None:
        """Start with empty queues.

        Args:
            cascade: The networks.
            observe: Called with the size of each batch of the first stage, also from the thread.
            max_waiting: Most images that wait.
        """
        self._stages, self._is_fast = cascade.stages, cascade.is_fast
        self._observe, self._max_waiting = observe, max_waiting
        self._waiting = 0  # images
        self._calls: deque[_Call] = deque()  # for a fast first stage
        self._is_scheduled = False  # whether _run_on_turn will be called
        # For each stage, calls with the indices of their images that wait for the thread.
        self._queues: list[deque[tuple[_Call, deque[int]]]] = [deque() for _ in self._stages]
        self._last_stage = 0  # of the last run in the thread
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._thread_is_busy = False

    @property
    def congested(self) -> bool:
        """Whether the queue is so long that a client may disconnect before its images run."""
        return self._waiting > CONGESTED_RUNS * self._stages[0].max_batch_size

    def admit(self, images: int = 1) -> None:
        """Check that the queue has room. An empty queue has room for any number of images.

        Raises:
            Overloaded: So many more images cannot wait.
        """
        if self._waiting and self._waiting + images > self._max_waiting:
            raise Overloaded()

    def submit(
        self, images: Images, deadline: float = math.inf, *, network_only: bool = False
    ) -> asyncio.Future[Probabilities]:
        """Queue images.

        Args:
            images: uint8 (n, 28, 28), at least one.
            deadline: On the clock of ``time.monotonic``.
            network_only: Run one stage only, the one after a fast first stage: the network without test-time
                augmentation.

        Returns:
            A future of float32 (n, 10), softmax probabilities. It raises TooLate if no image ran by the deadline.
            Cancel it if the result is no longer needed.

        Raises:
            Overloaded: Too many images wait.
        """
        self.admit(len(images))
        loop = asyncio.get_running_loop()
        call = _Call(images, deadline, loop.create_future(), np.empty((len(images), 10), np.float32))
        call.network_only = network_only
        self._waiting += len(images)
        call.future.add_done_callback(lambda _: self._remove(len(images)))
        if self._is_fast and not network_only:
            self._calls.append(call)
            if not self._is_scheduled:
                self._is_scheduled = True
                loop.call_soon(self._run_on_turn)
        else:
            self._enqueue(int(self._is_fast), call, range(len(images)))
            self._run_in_thread()
        return call.future

    def _remove(self, images: int) -> None:
        self._waiting -= images

    def _run_on_turn(self) -> None:
        """Run one batch of a fast first stage, and schedule the next one for the next turn of the loop."""
        parts = self._next_parts()
        self._is_scheduled = bool(self._calls)
        if self._calls:
            asyncio.get_running_loop().call_soon(self._run_on_turn)
        if parts:
            self._run_on_loop(parts)
            self._run_in_thread()

    def _next_parts(self) -> list[tuple[_Call, int, int]]:
        """Return the next batch of a fast first stage, as calls with a range of images. Long calls take turns."""
        parts: list[tuple[_Call, int, int]] = []
        room, now = self._stages[0].max_batch_size, time.monotonic()
        for _ in range(len(self._calls)):
            call = self._calls.popleft()
            if _is_over(call, now):
                continue
            start, call.next_image = call.next_image, min(call.next_image + room, len(call.images))
            call.has_started = True
            parts.append((call, start, call.next_image))
            room -= call.next_image - start
            if call.next_image < len(call.images):
                self._calls.append(call)
            if not room:
                break
        return parts

    def _run_on_loop(self, parts: list[tuple[_Call, int, int]]) -> None:
        images = [call.images[start:stop] for call, start, stop in parts]
        try:
            rows = self._predict(0, images[0] if len(images) == 1 else np.concatenate(images))
        except Exception as error:  # the callers get it
            _fail([call for call, _, _ in parts], error)
            return
        undecided, first = self._stages[0].undecided(rows), 0
        for call, start, stop in parts:
            last = first + stop - start
            call.rows[start:stop] = rows[first:last]
            indices = [start + row - first for row in undecided if first <= row < last]
            self._enqueue(1, call, indices)
            _finish_rows(call, stop - start - len(indices))
            first = last

    def _enqueue(self, stage: int, call: _Call, indices: Sequence[int]) -> None:
        """Queue images of a call for a stage in the thread."""
        if indices:
            self._queues[stage].append((call, deque(indices)))

    def _run_in_thread(self) -> None:
        """Start the next run unless the thread is busy. Stages take turns."""
        while not self._thread_is_busy and any(self._queues):
            self._last_stage = (self._last_stage + 1) % len(self._stages)
            if batch := self._next_batch(self._last_stage):
                self._start(self._last_stage, batch)

    def _next_batch(self, stage: int) -> list[tuple[_Call, int]]:
        """Return the next batch of a stage. It takes an image from each call in turn, so that small calls wait less."""
        batch, now = list[tuple[_Call, int]](), time.monotonic()
        queue = self._queues[stage]
        while queue and len(batch) < self._stages[stage].max_batch_size:
            call, indices = queue.popleft()
            if _is_over(call, now):
                continue
            call.has_started = True
            batch.append((call, indices.popleft()))
            if indices:
                queue.append((call, indices))
        return batch

    def _predict(self, stage: int, images: Images) -> Probabilities:
        if stage == 0:
            self._observe(len(images))
        return self._stages[stage].predict(images)

    def _start(self, stage: int, batch: list[tuple[_Call, int]]) -> None:
        images = np.stack([call.images[index] for call, index in batch])
        self._thread_is_busy = True
        run = asyncio.get_running_loop().run_in_executor(self._thread, self._predict, stage, images)
        run.add_done_callback(lambda run: self._on_run_done(stage, batch, run))

    def _on_run_done(self, stage: int, batch: list[tuple[_Call, int]], run: asyncio.Future[Probabilities]) -> None:
        self._thread_is_busy = False
        if error := run.exception():
            _fail([call for call, _ in batch], error)
        else:
            rows = run.result()
            undecided, next_stage = self._stages[stage].undecided(rows), dict[_Call, list[int]]()
            for row, (call, index) in enumerate(batch):
                call.rows[index] = rows[row]
                if row in undecided and not call.network_only:
                    next_stage.setdefault(call, []).append(index)
                else:
                    _finish_rows(call, 1)
            for call, indices in next_stage.items():
                self._enqueue(stage + 1, call, indices)
        self._run_in_thread()


def _is_over(call: _Call, now: float) -> bool:
    """Return whether a call was cancelled or has failed, or no image of it has run by its deadline."""
    if not call.future.done() and now > call.deadline and not call.has_started:
        call.future.set_exception(TooLate())
    return call.future.done()


def _finish_rows(call: _Call, rows: int) -> None:
    """Note that so many more rows are final, and return them to the caller if all are."""
    call.pending_rows -= rows
    if not call.pending_rows and not call.future.done():
        call.future.set_result(call.rows)


def _fail(calls: list[_Call], error: BaseException) -> None:
    for call in calls:
        if not call.future.done():
            call.future.set_exception(error)
