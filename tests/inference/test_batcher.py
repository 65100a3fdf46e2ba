"""Batches form while the engine runs, and everyone gets their own rows back."""

import asyncio
import gc
import threading
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from app.errors import Overloaded, TooLate
from app.inference.batcher import Batcher
from app.inference.engine import Engine, Images, Probabilities


class Slow(Engine):
    """An engine that waits to be let go, and answers each image with its first pixel."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = threading.Semaphore(0)
        self.fail = False

    def predict(self, images: Images) -> Probabilities:
        self.sizes.append(len(images))
        assert self.go.acquire(timeout=10)
        if self.fail:
            raise RuntimeError("the engine broke")
        return np.repeat(images[:, 0, :1], 10, axis=1).astype(np.float32)


class Doubtful(Slow):
    """Unsure of all images whose first pixel is 200 or more; a second look takes 100 away."""

    def unsure(self, glance: Probabilities) -> list[int]:
        places: list[int] = np.flatnonzero(glance[:, 0] >= 200).tolist()
        return places

    def look_again(self, image: Images) -> Probabilities:
        answer: Probabilities = super().look_again(image) - 100
        return answer


def images(*values: int) -> Images:
    batch = np.zeros((len(values), 28, 28), np.uint8)
    batch[:, 0, 0] = values
    return batch


def image(value: int) -> NDArray[np.uint8]:
    return images(value)[0]


async def started(engine: Slow, runs: int) -> None:
    async with asyncio.timeout(60):
        while len(engine.sizes) < runs:
            await asyncio.sleep(0.001)


def test_what_arrives_meanwhile_is_the_next_batch() -> None:
    async def story() -> None:
        engine = Slow()
        seen: list[int] = []
        batcher = Batcher(engine, engine, 64, seen.append)
        first = batcher.submit(images(1))
        await started(engine, 1)  # a lone request waits for nobody
        others = [batcher.submit(images(n, n + 100)) for n in range(2, 10)]
        engine.go.release(2)
        assert (await first)[:, 0].tolist() == [1]
        for n, rows in enumerate(await asyncio.gather(*others), start=2):
            assert rows[:, 0].tolist() == [n, n + 100]
        assert engine.sizes == seen == [1, 16]  # two of each
        batcher.close()

    asyncio.run(story())


def test_no_run_is_larger_than_the_limit() -> None:
    async def story() -> None:
        engine = Slow()
        batcher = Batcher(engine, engine, 8)
        engine.go.release(100)
        rows = await batcher.submit(images(*range(21)))
        assert rows[:, 0].tolist() == list(range(21))
        assert engine.sizes == [8, 8, 5]
        batcher.close()

    asyncio.run(story())


def test_a_failure_reaches_those_who_wait_and_nobody_else() -> None:
    async def story() -> None:
        engine = Slow()
        batcher = Batcher(engine, engine, 8)
        engine.fail = True
        engine.go.release(1)
        with pytest.raises(RuntimeError, match="broke"):
            await batcher.submit(images(1))
        engine.fail = False
        engine.go.release(1)
        assert (await batcher.submit(images(5)))[0, 0] == 5
        batcher.close()

    asyncio.run(story())


def test_a_failing_observer_leaves_nobody_waiting() -> None:
    async def story() -> None:
        def observe(size: int) -> None:
            raise ValueError(size)

        batcher = Batcher(Slow(), Slow(), 8, observe)
        with pytest.raises(ValueError, match="1"):
            await asyncio.wait_for(batcher.submit(images(1)), 5)
        batcher.close()

    asyncio.run(story())


def test_a_request_that_left_does_not_disturb_the_others() -> None:
    async def story() -> None:
        engine = Slow()
        batcher = Batcher(engine, engine, 8)
        first = batcher.submit(images(1))
        await started(engine, 1)
        left, stays = (batcher.submit(images(n)) for n in (2, 3))
        left.cancel()
        engine.go.release(2)
        assert (await first)[0, 0] == 1
        assert (await stays)[0, 0] == 3
        with pytest.raises(asyncio.CancelledError):
            await left
        batcher.close()

    asyncio.run(story())


def test_a_lone_image_waits_for_one_run_whatever_else_is_asked() -> None:
    async def story() -> None:
        engine = Slow()
        batcher = Batcher(engine, engine, 4)
        large = [batcher.submit(images(*range(40))) for _ in range(2)]
        await started(engine, 1)
        lone = batcher.submit(images(77))
        engine.go.release(2)
        assert (await lone)[0, 0] == 77
        assert engine.sizes[:2] == [4, 1]
        engine.go.release(100)
        for rows in await asyncio.gather(*large):
            assert rows[:, 0].tolist() == list(range(40))
        batcher.close()

    asyncio.run(story())


def test_large_calls_get_their_turns_however_many_small_ones_come() -> None:
    async def story() -> None:
        engine = Slow()
        batcher = Batcher(engine, engine, 2)
        engine.go.release(1000)
        large = batcher.submit(images(*range(8)))
        ended = 0
        while not large.done():
            await asyncio.gather(*(batcher.submit(images(1)) for _ in range(6)))
            ended += 6
            assert ended < 60
        batcher.close()

    asyncio.run(story())


def test_a_large_call_does_not_wait_for_the_end_of_another() -> None:
    async def story() -> None:
        engine = Slow()
        batcher = Batcher(engine, engine, 2)
        first = batcher.submit(images(*range(20)))
        await started(engine, 1)
        second = batcher.submit(images(1, 2, 3))
        engine.go.release(6)
        assert (await second)[:, 0].tolist() == [1, 2, 3]
        assert not first.done()
        engine.go.release(10)
        await first
        batcher.close()

    asyncio.run(story())


def test_what_was_not_begun_by_its_deadline_costs_no_run() -> None:
    async def story() -> None:
        engine = Slow()
        batcher = Batcher(engine, engine, 2)
        deadline = time.monotonic() + 1  # by which any machine begins it
        first = batcher.submit(images(*range(4)), deadline)
        await started(engine, 1)  # begun, it is finished
        late = [batcher.submit(images(*range(n)), time.monotonic() - 1) for n in (1, 3)]
        await asyncio.sleep(deadline - time.monotonic() + 0.01)
        engine.go.release(2)
        for task in late:
            with pytest.raises(TooLate, match="try again"):
                await task
        assert len(await first) == 4
        assert engine.sizes == [2, 2]
        batcher.close()

    asyncio.run(story())


def test_what_nobody_waits_for_any_more_costs_no_run() -> None:
    async def story() -> None:
        engine = Slow()
        batcher = Batcher(engine, engine, 2, most_waiting=20)
        first = batcher.submit(images(1))
        await started(engine, 1)
        for answer in [batcher.submit(images(*range(n))) for n in (1, 2, 6)]:
            answer.cancel()
        last = batcher.submit(images(9))
        engine.go.release(2)
        assert (await first)[0, 0] == 1
        assert (await last)[0, 0] == 9
        assert engine.sizes == [1, 1]
        batcher.admit(20)  # nothing waits, not even those
        batcher.close()

    asyncio.run(story())


def test_no_more_waits_than_may() -> None:
    async def story() -> None:
        engine = Slow()
        batcher = Batcher(engine, engine, 2, most_waiting=5)
        assert not batcher.congested
        answers = [batcher.submit(images(*range(17)))]  # where nothing waits, any number may
        assert batcher.congested
        with pytest.raises(Overloaded, match="try again"):
            batcher.submit(images(1))
        engine.go.release(9)
        await answers[0]
        answers = [batcher.submit(images(n)) for n in range(5)]
        with pytest.raises(Overloaded):
            batcher.admit()
        engine.go.release(5)
        assert [int(rows[0, 0]) for rows in await asyncio.gather(*answers)] == list(range(5))
        batcher.admit()
        batcher.close()

    asyncio.run(story())


def test_its_thread_ends_with_it() -> None:
    async def story() -> None:
        batcher = Batcher(Slow(), Slow(), 2)
        thread = batcher._thread
        assert thread.is_alive()
        del batcher
        gc.collect()
        await asyncio.to_thread(thread.join, 5)
        assert not thread.is_alive()

    asyncio.run(story())


def test_a_lone_image_is_answered_at_once_and_only_a_lone_one() -> None:
    async def story() -> None:
        engine = Slow()
        seen: list[int] = []
        batcher = Batcher(engine, engine, 4, seen.append)
        engine.go.release(1)
        row = await batcher.at_once(image(5))
        assert row is not None
        assert row[0] == 5
        assert seen == [1]

        async def ask(n: int) -> bool:
            if await batcher.at_once(image(n)) is not None:
                return True
            await batcher.submit(images(n))
            return False

        engine.go.release(2)
        assert await asyncio.gather(*(ask(n) for n in range(4))) == [False] * 4
        answer = batcher.submit(images(3))
        assert await batcher.at_once(image(4)) is None  # the engine is at work in its thread
        engine.go.release(2)
        await answer
        assert await batcher.at_once(image(6)) is not None
        batcher.close()

    asyncio.run(story())


def test_a_lone_image_does_not_wait_for_a_large_call() -> None:
    """The loop has an engine of its own; only what could be one batch with others is left to the thread."""

    async def story() -> None:
        engine, own = Slow(), Slow()
        own.go.release(100)
        batcher = Batcher(engine, own, 2)
        large = batcher.submit(images(*range(5)))
        await started(engine, 1)
        row = await batcher.at_once(image(7))
        assert row is not None
        assert row[0] == 7
        small = batcher.submit(images(1, 2))
        assert await batcher.at_once(image(8)) is None
        engine.go.release(100)
        await asyncio.gather(large, small)
        assert await batcher.at_once(image(9)) is not None
        assert (engine.sizes, own.sizes) == ([2, 2, 2, 1], [1, 1])
        batcher.close()

    asyncio.run(story())


def at_once(batcher: Batcher, *values: int) -> asyncio.Future[list[float | None]]:
    """What each gets that comes in one turn of the loop."""

    async def ask(value: int) -> float | None:
        row = await batcher.at_once(image(value))
        return None if row is None else float(row[0])

    return asyncio.gather(*map(ask, values))


def test_without_a_core_for_the_thread_all_of_one_turn_are_answered_in_it() -> None:
    async def story() -> None:
        engine = Doubtful()
        batcher = Batcher(engine, engine, 4, beside=False)
        engine.go.release(100)
        assert await at_once(batcher, 1, 2, 3) == [1, 2, 3]
        assert engine.sizes == [3]
        assert await at_once(batcher, 1, 202, 3, 4, 5, 206) == [1, 102, 3, 4, 5, 106]
        assert engine.sizes == [3, 4, 2, 1, 1]  # no more than fit, and second looks by themselves
        engine.fail = True
        outcomes = await asyncio.gather(*(batcher.at_once(image(n)) for n in (1, 2)), return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["the engine broke"] * 2
        engine.fail = False
        assert await at_once(batcher, 7) == [7]
        batcher.close()

    asyncio.run(story())


def test_those_of_one_turn_are_admitted_and_dropped_like_those_that_wait() -> None:
    async def story() -> None:
        engine = Slow()
        batcher = Batcher(engine, engine, 4, most_waiting=2, beside=False)
        engine.go.release(100)

        async def ask(value: int) -> NDArray[np.float32] | None:
            batcher.admit()
            return await batcher.at_once(image(value))

        outcomes = await asyncio.gather(*map(ask, range(4)), return_exceptions=True)
        assert [isinstance(outcome, Overloaded) for outcome in outcomes] == [False, False, True, True]
        await ask(1)
        sizes = list(engine.sizes)
        past = time.monotonic() - 1
        outcomes = await asyncio.gather(*(batcher.at_once(image(1), past) for _ in range(3)), return_exceptions=True)
        assert [isinstance(outcome, TooLate) for outcome in outcomes] == [True, True, False]
        assert engine.sizes == [*sizes, 1]  # the others cost no run, and the last one waits for nobody
        batcher.close()

    asyncio.run(story())


def test_second_looks_take_turns_with_lone_images() -> None:
    """Each is a run of its own, so who comes meanwhile waits for one of them and not for all."""

    async def story() -> None:
        engine = Doubtful()
        batcher = Batcher(engine, engine, 4)
        many = batcher.submit(images(1, 201, 202, 203, 4, 205))
        await started(engine, 1)
        first = batcher.submit(images(7))
        engine.go.release(2)
        assert (await first)[:, 0].tolist() == [7]
        assert engine.sizes[:2] == [4, 1]
        for value in (8, 9):
            lone = batcher.submit(images(value))
            engine.go.release(2)
            assert (await lone)[:, 0].tolist() == [value]
        assert not many.done()
        engine.go.release(10)
        assert (await many)[:, 0].tolist() == [1, 101, 102, 103, 4, 105]
        assert sorted(engine.sizes) == [1] * 7 + [2, 4]
        batcher.close()

    asyncio.run(story())


def test_who_is_sure_does_not_wait_for_the_second_looks_of_others() -> None:
    async def story() -> None:
        engine = Doubtful()
        batcher = Batcher(engine, engine, 4)
        first = batcher.submit(images(1))
        await started(engine, 1)
        unsure, sure = batcher.submit(images(201)), batcher.submit(images(2))
        engine.go.release(2)
        assert (await sure)[:, 0].tolist() == [2]
        assert (await first)[:, 0].tolist() == [1]
        assert not unsure.done()
        engine.go.release(1)
        assert (await unsure)[:, 0].tolist() == [101]
        assert engine.sizes == [1, 2, 1]
        batcher.close()

    asyncio.run(story())


def test_a_second_look_that_fails_reaches_its_caller_alone() -> None:
    async def story() -> None:
        engine = Doubtful()
        batcher = Batcher(engine, engine, 4)
        unsure = batcher.submit(images(1, 201))
        await started(engine, 1)
        engine.go.release(1)
        await started(engine, 2)
        engine.fail = True
        engine.go.release(1)
        with pytest.raises(RuntimeError, match="broke"):
            await unsure
        engine.fail = False
        engine.go.release(1)
        assert (await batcher.submit(images(3)))[:, 0].tolist() == [3]
        batcher.close()

    asyncio.run(story())
