"""The threads that decode: in order, within bounds, and not for clients that have left."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from starlette.requests import Request

from app.api import decode_pool
from app.api.decode_pool import LARGE_PIXELS, NICENESS, DecodePool
from app.api.predictions import INLINE_BYTES, read_picture
from app.api.uploads import File
from app.errors import Overloaded, TooLate
from app.services import Services
from app.settings import Settings
from tests.support.images import encode
from tests.support.waiting import until


class Gate:
    """Work that lasts until it is let go."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.open.wait(30)
        return "done"


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pool's clock, in seconds, that a test sets."""
    now = [0.0]
    monkeypatch.setattr(decode_pool, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def noted(done: list[int], number: int) -> Callable[[], None]:
    return lambda: done.append(number)


async def started(call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A call that has come to the pool."""
    task = asyncio.create_task(call)
    await asyncio.sleep(0)
    return task


def test_what_waits_is_bounded_in_size_and_cancelled_work_is_not_done() -> None:
    async def scenario() -> None:
        pool, gate, done = DecodePool(1, deadline=60, max_waiting_bytes=100), Gate(), list[int]()
        first = await started(pool.run(gate, 1000))  # where nothing waits, any size is taken
        assert not pool.congested
        with pytest.raises(Overloaded):
            await pool.run(noted(done, 0), 1)
        more = [await started(pool.run(noted(done, number), 40, admitted=True)) for number in (1, 2, 3)]
        assert pool.congested
        await asyncio.to_thread(gate.begun.wait)
        more[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await more[1]
        gate.open.set()
        assert await first == "done"
        await asyncio.gather(more[0], more[2])
        assert done == [1, 3]
        assert not pool.congested
        await pool.run(noted(done, 4), 100)  # all has been counted out again
        assert done == [1, 3, 4]
        pool.close()

    asyncio.run(scenario())


def test_what_comes_too_late_is_not_done(now: list[float]) -> None:
    async def scenario() -> None:
        pool, gate, done = DecodePool(1, deadline=60), Gate(), list[int]()
        first = await started(pool.run(gate, 1, admitted=True))
        await asyncio.to_thread(gate.begun.wait)
        late = await started(pool.run(noted(done, 1), 1))
        going_on = await started(pool.run(noted(done, 2), 1, admitted=True))
        now[0] = 61
        gate.open.set()
        assert await first == "done"
        with pytest.raises(TooLate):
            await late
        await going_on
        assert done == [2]
        pool.close()

    asyncio.run(scenario())


def test_large_pictures_are_decoded_one_at_a_time_and_others_beside_them() -> None:
    async def scenario() -> None:
        pool, gates = DecodePool(2, deadline=60), [Gate(), Gate()]
        first, second = [await started(pool.run(gate, 1, large=True)) for gate in gates]
        await asyncio.to_thread(gates[0].begun.wait)
        assert await pool.run(lambda: "small", 1) == "small"
        assert not gates[1].begun.is_set()
        gates[0].open.set()
        assert await first == "done"
        gates[1].open.set()
        assert await second == "done"
        pool.close()

    asyncio.run(scenario())


def test_a_large_picture_whose_client_has_left_before_its_turn_is_not_decoded() -> None:
    async def scenario() -> None:
        pool, gate, done = DecodePool(2, deadline=60), Gate(), list[int]()
        first = await started(pool.run(gate, 1, large=True))
        left, third = [await started(pool.run(noted(done, number), 1, large=True)) for number in (2, 3)]
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        gate.open.set()
        assert await first == "done"
        await third
        assert done == [3]
        pool.close()

    asyncio.run(scenario())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all threads of a process have one priority")
def test_the_threads_stand_back_behind_the_event_loop() -> None:
    async def scenario() -> int:
        pool = DecodePool(1, deadline=60)
        priority = await pool.run(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), 1)
        pool.close()
        return priority

    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert asyncio.run(scenario()) == min(own + NICENESS, 19)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


class Noting(DecodePool):
    """Notes what it was asked to run: whether each is large."""

    def __init__(self) -> None:
        super().__init__(1, deadline=60)
        self.asked: list[bool] = []

    async def run(self, function: Callable[[], Any], size: int, *, large: bool = False, admitted: bool = False) -> Any:
        self.asked.append(large)
        return await super().run(function, size, large=large, admitted=admitted)


def test_a_picture_that_was_opened_in_time_may_still_be_decoded_too_late(now: list[float]) -> None:
    """Opening a file takes a turn of its own; the deadline holds for decoding, too."""
    noise = np.random.default_rng(0).integers(0, 256, (2100, 2100), np.uint8)
    picture = File(encode(noise, "PNG", compress_level=0))
    assert len(picture.content) > INLINE_BYTES
    assert noise.size > LARGE_PIXELS

    async def never() -> Any:
        await asyncio.Event().wait()

    async def scenario() -> None:
        pool, gate = Noting(), Gate()
        services = cast(Services, SimpleNamespace(decode_pool=pool, settings=Settings()))
        first = await started(pool.run(gate, 1, large=True))
        request = Request({"type": "http", "headers": []}, never)
        late = await started(read_picture(request, services, picture))
        await until(lambda: len(pool.asked) == 3, "the picture")  # the gate, to open it, to decode it
        assert pool.asked == [True, False, True]
        now[0] = 61
        gate.open.set()
        with pytest.raises(TooLate):
            await late
        assert await first == "done"
        pool.close()

    asyncio.run(scenario())
