"""Batches form while the engine runs, and everyone gets their own rows back."""

import asyncio
import threading

import numpy as np
import pytest

from app.inference.batcher import Batcher
from app.inference.engine import Images, Probabilities


class Slow:
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


def images(*values: int) -> Images:
    batch = np.zeros((len(values), 28, 28), np.uint8)
    batch[:, 0, 0] = values
    return batch


async def started(engine: Slow, runs: int) -> None:
    while len(engine.sizes) < runs:
        await asyncio.sleep(0.001)


def test_what_arrives_meanwhile_is_the_next_batch() -> None:
    async def story() -> None:
        engine = Slow()
        seen: list[int] = []
        batcher = Batcher(engine, 64, seen.append)
        first = asyncio.create_task(batcher.predict(images(1)))
        await started(engine, 1)  # a lone request waits for nobody
        others = [asyncio.create_task(batcher.predict(images(n, n + 100))) for n in range(2, 10)]
        await asyncio.sleep(0)
        engine.go.release(2)
        assert (await first)[:, 0].tolist() == [1]
        for n, rows in enumerate(await asyncio.gather(*others), start=2):
            assert rows[:, 0].tolist() == [n, n + 100]
        assert engine.sizes == seen == [1, 16]
        batcher.close()

    asyncio.run(story())


def test_no_run_is_larger_than_the_limit() -> None:
    async def story() -> None:
        engine = Slow()
        batcher = Batcher(engine, 8)
        engine.go.release(100)
        rows = await batcher.predict(images(*range(21)))
        assert rows[:, 0].tolist() == list(range(21))
        assert engine.sizes == [8, 8, 5]
        batcher.close()

    asyncio.run(story())


def test_a_failure_reaches_those_who_wait_and_nobody_else() -> None:
    async def story() -> None:
        engine = Slow()
        batcher = Batcher(engine, 8)
        engine.fail = True
        engine.go.release(1)
        with pytest.raises(RuntimeError, match="broke"):
            await batcher.predict(images(1))
        engine.fail = False
        engine.go.release(1)
        assert (await batcher.predict(images(5)))[0, 0] == 5
        batcher.close()

    asyncio.run(story())


def test_a_failing_observer_leaves_nobody_waiting() -> None:
    async def story() -> None:
        def observe(size: int) -> None:
            raise ValueError(size)

        batcher = Batcher(Slow(), 8, observe)
        with pytest.raises(ValueError, match="1"):
            await asyncio.wait_for(batcher.predict(images(1)), 5)
        batcher.close()

    asyncio.run(story())


def test_a_request_that_left_does_not_disturb_the_others() -> None:
    async def story() -> None:
        engine = Slow()
        batcher = Batcher(engine, 8)
        first = asyncio.create_task(batcher.predict(images(1)))
        await started(engine, 1)
        left, stays = (asyncio.create_task(batcher.predict(images(n))) for n in (2, 3))
        await asyncio.sleep(0)
        left.cancel()
        engine.go.release(2)
        assert (await first)[0, 0] == 1
        assert (await stays)[0, 0] == 3
        with pytest.raises(asyncio.CancelledError):
            await left
        batcher.close()

    asyncio.run(story())
