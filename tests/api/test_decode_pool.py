"""The threads that decode: in order, within bounds, and not for clients that have left."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from app.api.decode_pool import NICENESS, DecodePool
from app.errors import Overloaded, TooLate


class Gate:
    """Work that lasts until it is let go."""

    def __init__(self) -> None:
        self.begun, self.open = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.open.wait(30)
        return "done"


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
        more = [await started(pool.run(noted(done, number), 40, begun=True)) for number in (1, 2, 3)]
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


def test_what_comes_too_late_is_not_done() -> None:
    async def scenario() -> None:
        pool, gate, done = DecodePool(1, deadline=0.05), Gate(), list[int]()
        first = await started(pool.run(gate, 1, begun=True))
        await asyncio.to_thread(gate.begun.wait)
        late = await started(pool.run(noted(done, 1), 1))
        going_on = await started(pool.run(noted(done, 2), 1, begun=True))
        latest = time.monotonic() + 0.05
        while time.monotonic() <= latest:
            await asyncio.sleep(0.01)
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
