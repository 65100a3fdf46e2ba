"""The threads that decode: in order, within bounds, and not for those who left."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable

import pytest

from app.errors import Overloaded, TooLate
from app.api.decoders import NICE, Decoders


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


def test_what_waits_is_bounded_in_size_and_cancelled_work_is_not_done() -> None:
    async def scenario() -> None:
        decoders, gate, done = Decoders(1, deadline=60, most_waiting=100), Gate(), list[int]()
        first = decoders.submit(gate, 1000)  # where nothing waits, any size is taken
        assert not decoders.congested
        with pytest.raises(Overloaded):
            decoders.submit(noted(done, 0), 1)
        more = [decoders.submit(noted(done, number), 40, begun=True) for number in (1, 2, 3)]
        assert decoders.congested
        await asyncio.to_thread(gate.begun.wait)
        more[1].cancel()
        await asyncio.sleep(0)  # the thread's side hears of it
        gate.open.set()
        assert await first == "done"
        await asyncio.gather(more[0], more[2])
        assert done == [1, 3]
        await decoders.submit(noted(done, 4), 100)  # all has been counted out again
        assert done == [1, 3, 4]
        decoders.close()

    asyncio.run(scenario())


def test_what_comes_too_late_is_not_done() -> None:
    async def scenario() -> None:
        decoders, gate, done = Decoders(1, deadline=0.05), Gate(), list[int]()
        first = decoders.submit(gate, 1)
        await asyncio.to_thread(gate.begun.wait)
        late, going_on = decoders.submit(noted(done, 1), 1), decoders.submit(noted(done, 2), 1, begun=True)
        await asyncio.sleep(0.1)
        gate.open.set()
        assert await first == "done"
        with pytest.raises(TooLate):
            await late
        await going_on
        assert done == [2]
        decoders.close()

    asyncio.run(scenario())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all threads of a process have one priority")
def test_the_threads_stand_back_behind_the_event_loop() -> None:
    async def scenario() -> int:
        decoders = Decoders(1, deadline=60)
        priority = await decoders.submit(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), 1)
        decoders.close()
        return priority

    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert asyncio.run(scenario()) == min(own + NICE, 19)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own
