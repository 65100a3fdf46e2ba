"""Images that arrive together run in one batch, and callers get their own rows back."""

import asyncio
import gc
import itertools
import threading
import weakref
from collections.abc import Coroutine
from typing import Any

import numpy as np
import pytest

from app.errors import Overloaded, TooLate
from app.inference.batcher import CONGESTED_RUNS, Batcher
from app.inference.engine import Images, Probabilities
from app.inference.ensemble import Cascade, Stage
from tests.support.waiting import TIMEOUT_SECONDS, until

UNDECIDED = 200  # images of this value and above are left to the next stage
BROKEN = 99  # a batch with an image of this value fails


class Network:
    """A stage that answers each image with its value, and remembers the values of each run.

    In the thread a run waits until it is let go. On the event loop it does not.
    """

    def __init__(self, max_batch_size: int, number: int, *, on_loop: bool) -> None:
        self.max_batch_size, self.number, self.on_loop = max_batch_size, number, on_loop
        self.runs: list[list[int]] = []
        self.threads: set[threading.Thread] = set()
        self.broken: set[int] = {BROKEN}
        self.go = threading.Semaphore(0)

    @property
    def sizes(self) -> list[int]:
        return [len(run) for run in self.runs]

    def predict(self, images: Images) -> Probabilities:
        values = images[:, 0, 0]
        self.threads.add(threading.current_thread())
        self.runs.append(values.tolist())
        assert self.on_loop or self.go.acquire(timeout=TIMEOUT_SECONDS)
        if self.broken & {*values.tolist()}:
            raise RuntimeError("the network broke")
        rows = np.zeros((len(images), 10), np.float32)
        rows[:, 0] = np.where(values < UNDECIDED, 1, 0.5)
        rows[:, 1], rows[:, 2] = -values.astype(np.float32), -self.number
        return rows

    def let_go(self, runs: int = 10_000) -> None:
        self.go.release(runs)


def networks(*max_batch_sizes: int, is_fast: bool) -> tuple[Cascade, list[Network]]:
    """A cascade of fake networks. All but the last leave some images undecided."""
    found = [Network(size, number, on_loop=is_fast and number == 0) for number, size in enumerate(max_batch_sizes)]
    stages = [Stage(network.predict, network.max_batch_size, 0.9) for network in found[:-1]]
    return Cascade((*stages, Stage(found[-1].predict, found[-1].max_batch_size)), is_fast), found


def images(*values: int) -> Images:
    batch = np.zeros((len(values), 28, 28), np.uint8)
    batch[:, 0, 0] = values
    return batch


def values(rows: Probabilities) -> list[int]:
    """The images that were answered."""
    return [int(value) for value in -rows[:, 1]]


def stages(rows: Probabilities) -> list[int]:
    """The stages that answered."""
    return [int(number) for number in -rows[:, 2]]


async def started(network: Network, runs: int) -> None:
    await until(lambda: len(network.runs) >= runs, "a run")


async def busy(batcher: Batcher, network: Network) -> None:
    """Let a run begin in the thread, so that what is submitted next waits. The event loop is busy with the test."""
    if not network.on_loop:
        batcher.submit(images(0))
        await started(network, 1)
        network.runs.clear()


async def nobody_waits(batcher: Batcher) -> None:
    """Whether any number of images may wait again."""
    await asyncio.sleep(0)  # a call is counted out in the turn after its answer
    batcher.admit(10_000)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    async def with_limit() -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await scenario

    asyncio.run(with_limit())


on_loop_and_in_thread = pytest.mark.parametrize("is_fast", [True, False], ids=["on the loop", "in the thread"])


def test_what_arrives_during_a_run_in_the_thread_is_the_next_batch() -> None:
    async def scenario() -> None:
        cascade, (network,) = networks(64, is_fast=False)
        observed: list[int] = []
        batcher = Batcher(cascade, observed.append)
        first = batcher.submit(images(1))
        await started(network, 1)  # a single image waits for no others
        others = [batcher.submit(images(n, n + 50)) for n in range(2, 10)]
        network.let_go()
        assert values(await first) == [1]
        for n, rows in enumerate(await asyncio.gather(*others), start=2):
            assert values(rows) == [n, n + 50]
        assert network.sizes == observed == [1, 16]

    run(scenario())


def test_what_is_submitted_in_one_turn_of_the_loop_is_one_batch_of_a_fast_stage() -> None:
    async def scenario() -> None:
        cascade, (network,) = networks(64, is_fast=True)
        observed: list[int] = []
        batcher = Batcher(cascade, observed.append)

        async def ask(n: int) -> list[int]:
            return values(await batcher.submit(images(n, n + 50)))

        assert await asyncio.gather(*map(ask, range(2, 10))) == [[n, n + 50] for n in range(2, 10)]
        assert await ask(1) == [1, 51]
        assert network.sizes == observed == [16, 2]

    run(scenario())


def test_other_things_get_their_turn_of_the_loop_between_two_batches_of_a_fast_stage() -> None:
    async def scenario() -> None:
        cascade, (network,) = networks(4, is_fast=True)
        batcher = Batcher(cascade)
        answers = [batcher.submit(images(*range(4))) for _ in range(3)]
        for turn in range(1, 4):
            await asyncio.sleep(0)
            assert len(network.runs) == turn
        await asyncio.gather(*answers)

    run(scenario())


@pytest.mark.parametrize("is_fast", [True, False])
def test_only_a_fast_first_stage_runs_on_the_event_loop(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (first, second, third) = networks(8, 4, 1, is_fast=is_fast)
        for network in (first, second, third):
            network.let_go()
        batcher = Batcher(cascade)
        assert stages(await batcher.submit(images(1, 201))) == [0, 2]
        (thread,) = second.threads | third.threads
        assert thread is not threading.main_thread()
        assert first.threads == ({threading.main_thread()} if is_fast else {thread})

    run(scenario())


@on_loop_and_in_thread
def test_no_batch_is_over_the_limit(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (network,) = networks(8, is_fast=is_fast)
        network.let_go()
        assert values(await Batcher(cascade).submit(images(*range(21)))) == list(range(21))
        assert network.sizes == [8, 8, 5]

    run(scenario())


@on_loop_and_in_thread
def test_rows_go_to_their_callers_in_order(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, found = networks(8, 4, is_fast=is_fast)
        batcher = Batcher(cascade)
        random = np.random.default_rng(0)
        asked = [random.integers(100, 256, size).tolist() for size in random.integers(1, 20, 40)]
        answers = [batcher.submit(images(*some)) for some in asked]
        for network in found:
            network.let_go()
        for some, rows in zip(asked, await asyncio.gather(*answers), strict=True):
            assert values(rows) == some
            assert stages(rows) == [int(value >= UNDECIDED) for value in some]
        assert max(found[0].sizes) == 8
        assert max(found[1].sizes) == 4

    run(scenario())


def test_calls_take_turns_with_each_image_in_the_thread() -> None:
    async def scenario() -> None:
        cascade, (network,) = networks(4, is_fast=False)
        batcher = Batcher(cascade)
        await busy(batcher, network)
        answers = [batcher.submit(images(*some)) for some in ((1, 2, 3), (4, 5), (6,))]
        network.let_go()
        assert [values(rows) for rows in await asyncio.gather(*answers)] == [[1, 2, 3], [4, 5], [6]]
        assert network.runs == [[1, 4, 6, 2], [5, 3]]

    run(scenario())


@on_loop_and_in_thread
def test_a_failure_reaches_those_who_wait_for_the_batch_and_nobody_else(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (network,) = networks(2, is_fast=is_fast)
        batcher = Batcher(cascade)
        await busy(batcher, network)
        answers = [batcher.submit(images(n)) for n in (1, BROKEN, 3)]
        network.let_go()
        *failed, rows = await asyncio.gather(*answers, return_exceptions=True)
        assert [str(error) for error in failed] == ["the network broke"] * 2
        assert isinstance(rows, np.ndarray)
        assert values(rows) == [3]
        assert values(await batcher.submit(images(4))) == [4]

    run(scenario())


@on_loop_and_in_thread
def test_a_large_call_that_fails_costs_no_further_run(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (network,) = networks(2, is_fast=is_fast)
        batcher = Batcher(cascade, max_waiting=6)
        network.let_go()
        with pytest.raises(RuntimeError, match="broke"):
            await batcher.submit(images(1, BROKEN, 3, 4, 5, 6))
        assert values(await batcher.submit(images(7))) == [7]
        assert network.runs == [[1, BROKEN], [7]]

    run(scenario())


@on_loop_and_in_thread
def test_a_failing_observer_leaves_nobody_waiting(is_fast: bool) -> None:
    async def scenario() -> None:
        def observe(size: int) -> None:
            if size == 2:
                raise ValueError("not two")

        cascade, (network,) = networks(2, is_fast=is_fast)
        batcher = Batcher(cascade, observe, max_waiting=4)
        network.let_go()
        with pytest.raises(ValueError, match="not two"):
            await batcher.submit(images(1, 2))
        await nobody_waits(batcher)
        await busy(batcher, network)
        answers = [batcher.submit(images(n)) for n in (1, 2, 3)]
        found = await asyncio.gather(*answers, return_exceptions=True)
        assert sorted(isinstance(one, ValueError) for one in found) == [False, True, True]
        await nobody_waits(batcher)
        assert 2 not in network.sizes

    run(scenario())


@on_loop_and_in_thread
def test_a_cancelled_call_costs_no_run_and_disturbs_nobody(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (network,) = networks(2, is_fast=is_fast)
        batcher = Batcher(cascade, max_waiting=20)
        await busy(batcher, network)
        stays = [batcher.submit(images(1))]
        cancelled = [batcher.submit(images(*range(10, 10 + n))) for n in (1, 2, 6)]
        stays.append(batcher.submit(images(2)))
        for answer in cancelled:
            answer.cancel()
        network.let_go()
        assert [values(rows) for rows in await asyncio.gather(*stays)] == [[1], [2]]
        assert network.runs == [[1, 2]]
        await nobody_waits(batcher)

    run(scenario())


def test_a_call_that_is_cancelled_while_it_runs_disturbs_nobody() -> None:
    async def scenario() -> None:
        cascade, (network,) = networks(2, is_fast=False)
        batcher = Batcher(cascade, max_waiting=20)
        await busy(batcher, network)
        cancelled, stays = batcher.submit(images(1, 2)), batcher.submit(images(3))
        network.let_go(1)
        await started(network, 1)
        cancelled.cancel()
        network.let_go()
        assert values(await stays) == [3]
        assert cancelled.cancelled()
        assert network.runs == [[1, 3]]
        await nobody_waits(batcher)

    run(scenario())


@on_loop_and_in_thread
def test_a_cancelled_call_costs_no_run_of_a_later_stage(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (first, second) = networks(8, 2, is_fast=is_fast)
        first.let_go()
        batcher = Batcher(cascade)
        cancelled = batcher.submit(images(*range(201, 207)))
        await started(second, 1)
        cancelled.cancel()
        stays = batcher.submit(images(250))
        second.let_go()
        assert values(await stays) == [250]
        assert second.runs == [[201, 202], [250]]

    run(scenario())


@on_loop_and_in_thread
def test_a_single_image_does_not_wait_for_all_of_a_large_call(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (network,) = networks(4, is_fast=is_fast)
        batcher = Batcher(cascade)
        large = [batcher.submit(images(*range(40))) for _ in range(2)]
        if not is_fast:
            await started(network, 1)
        single = batcher.submit(images(77))
        network.let_go()
        assert values(await single) == [77]
        assert not any(answer.done() for answer in large)
        # The loop gives each call its turn. In the thread small calls go first.
        assert [77 in batch for batch in network.runs].index(True) == (2 if is_fast else 1)
        for rows in await asyncio.gather(*large):
            assert values(rows) == list(range(40))
        assert network.sizes == [4] * 20 + [1]  # no batch has room while images wait

    run(scenario())


@on_loop_and_in_thread
def test_large_calls_get_their_turns_however_many_small_ones_wait(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (network,) = networks(2, is_fast=is_fast)
        network.let_go()
        batcher = Batcher(cascade)
        asked = itertools.count()

        async def ask() -> None:
            while not large.done():
                assert next(asked) < 200
                await batcher.submit(images(1))

        await busy(batcher, network)
        large = batcher.submit(images(*range(8)))
        await asyncio.gather(*(ask() for _ in range(6)))
        assert values(await large) == list(range(8))

    run(scenario())


@on_loop_and_in_thread
def test_large_calls_get_turns_of_a_later_stage_however_many_small_ones_wait(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, found = networks(64, 2, is_fast=is_fast)
        for network in found:
            network.let_go()
        batcher = Batcher(cascade)
        asked = itertools.count()

        async def ask() -> None:
            while not large.done():
                assert next(asked) < 200
                await batcher.submit(images(250))

        large = batcher.submit(images(*range(201, 209)))
        await asyncio.gather(*(ask() for _ in range(6)))
        assert values(await large) == list(range(201, 209))

    run(scenario())


@on_loop_and_in_thread
def test_a_large_call_does_not_wait_for_the_end_of_another(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (network,) = networks(2, is_fast=is_fast)
        batcher = Batcher(cascade)
        await busy(batcher, network)
        first, second = batcher.submit(images(*range(20))), batcher.submit(images(31, 32, 33))
        network.let_go()
        assert values(await second) == [31, 32, 33]
        assert not first.done()
        by_turns = [[0, 1], [31, 32], [2, 3], [33, 4]] if is_fast else [[0, 31], [1, 32], [2, 33]]
        assert network.runs[: len(by_turns)] == by_turns
        assert values(await first) == list(range(20))

    run(scenario())


@on_loop_and_in_thread
def test_what_did_not_begin_by_its_deadline_costs_no_run(is_fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr("app.inference.batcher.time", clock)

    async def scenario() -> None:
        cascade, (network,) = networks(2, is_fast=is_fast)

        def observe(size: int) -> None:
            clock.now = 101.5  # from the first run on

        batcher = Batcher(cascade, observe, max_waiting=20)
        begun = batcher.submit(images(1, 2, 3, 4), deadline=101)
        late = [batcher.submit(images(*range(5, 5 + n)), deadline=101) for n in (1, 3)]
        in_time = batcher.submit(images(9), deadline=102)
        network.let_go()
        for answer in late:
            with pytest.raises(TooLate, match="try again"):
                await answer
        assert values(await begun) == [1, 2, 3, 4]
        assert values(await in_time) == [9]
        assert sorted(itertools.chain(*network.runs)) == [1, 2, 3, 4, 9]
        await nobody_waits(batcher)

    run(scenario())


@on_loop_and_in_thread
def test_no_more_images_wait_than_may(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (network,) = networks(2, is_fast=is_fast)
        batcher = Batcher(cascade, max_waiting=5)
        large = batcher.submit(images(*range(17)))  # where nobody waits, any number may
        with pytest.raises(Overloaded, match="try again"):
            batcher.submit(images(1))
        network.let_go()
        assert values(await large) == list(range(17))
        answers = [batcher.submit(images(n)) for n in range(3)]
        batcher.admit(2)
        with pytest.raises(Overloaded):
            batcher.admit(3)
        answers.append(batcher.submit(images(3, 4)))
        with pytest.raises(Overloaded):
            batcher.admit()
        assert [values(rows) for rows in await asyncio.gather(*answers)] == [[0], [1], [2], [3, 4]]
        await nobody_waits(batcher)

    run(scenario())


@on_loop_and_in_thread
def test_it_is_congested_while_more_waits_than_fits_in_some_runs(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (network,) = networks(2, is_fast=is_fast)
        batcher = Batcher(cascade)
        most = batcher.submit(images(*[1] * 2 * CONGESTED_RUNS))
        assert not batcher.congested
        one_more = batcher.submit(images(1))
        assert batcher.congested
        network.let_go()
        await asyncio.gather(most, one_more)
        assert not batcher.congested

    run(scenario())


@on_loop_and_in_thread
def test_only_undecided_images_go_to_the_next_stage_in_batches_of_its_size(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (first, second, third) = networks(8, 3, 1, is_fast=is_fast)
        third.broken = set()
        observed: list[int] = []
        batcher = Batcher(cascade, observed.append)
        for network in (first, second, third):
            network.let_go()
        asked = [1, 201, 2, 202, 203, 3, 204, 205]
        rows = await batcher.submit(images(*asked))
        assert values(rows) == asked
        assert stages(rows) == [2 if value >= UNDECIDED else 0 for value in asked]
        assert first.runs == [asked]
        assert sorted(second.sizes) == [2, 3]
        assert third.sizes == [1] * 5
        assert sorted(itertools.chain(*second.runs)) == sorted(itertools.chain(*third.runs)) == list(range(201, 206))
        assert observed == [8]  # only batches of the first stage are counted

    run(scenario())


@on_loop_and_in_thread
def test_undecided_images_of_several_calls_run_together(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (first, second) = networks(8, 4, is_fast=is_fast)
        batcher = Batcher(cascade)
        await busy(batcher, first)
        answers = [batcher.submit(images(*some)) for some in ((1, 201), (202, 2), (203,))]
        first.let_go()
        second.let_go()
        assert [stages(rows) for rows in await asyncio.gather(*answers)] == [[0, 1], [1, 0], [1]]
        assert [sorted(batch) for batch in second.runs] == [[201, 202, 203]]

    run(scenario())


@on_loop_and_in_thread
def test_a_lone_undecided_image_does_not_wait_for_all_of_a_large_call(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (first, second) = networks(8, 2, is_fast=is_fast)
        first.let_go()
        batcher = Batcher(cascade)
        large = batcher.submit(images(*range(201, 207)))
        await started(second, 1)
        small = batcher.submit(images(250))
        if is_fast:
            await started(first, 2)
        second.let_go(2)
        assert values(await small) == [250]
        assert not large.done()
        assert second.runs[1] == [203, 250]
        second.let_go()
        assert values(await large) == list(range(201, 207))

    run(scenario())


@on_loop_and_in_thread
def test_large_calls_take_turns_among_the_undecided(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (first, second) = networks(16, 1, is_fast=is_fast)
        batcher = Batcher(cascade)
        await busy(batcher, first)
        answers = [batcher.submit(images(*range(start, start + 4))) for start in (210, 220)]
        first.let_go()
        second.let_go()
        assert [values(rows) for rows in await asyncio.gather(*answers)] == [[*range(210, 214)], [*range(220, 224)]]
        assert second.runs == [[n] for n in (210, 220, 211, 221, 212, 222, 213, 223)]

    run(scenario())


@on_loop_and_in_thread
def test_single_images_take_turns_with_the_undecided_ones_of_a_large_call(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (first, second) = networks(8, 1, is_fast=is_fast)
        first.let_go()
        batcher = Batcher(cascade)
        large = batcher.submit(images(*range(201, 209)))
        await started(second, 1)
        for n in (1, 2, 3):
            single = batcher.submit(images(n))
            second.let_go(1)
            assert stages(await single) == [0]
        assert not large.done()
        assert len(second.runs) <= 5
        second.let_go()
        assert values(await large) == list(range(201, 209))

    run(scenario())


def test_stages_take_turns_in_the_thread() -> None:
    async def scenario() -> None:
        cascade, (first, second) = networks(1, 1, is_fast=False)
        batcher = Batcher(cascade)
        undecided = batcher.submit(images(201))
        decided = [batcher.submit(images(n)) for n in (1, 2, 3)]
        first.let_go()
        await started(second, 1)
        assert first.runs == [[201]]
        second.let_go()
        await asyncio.gather(*decided)
        assert stages(await undecided) == [1]

    run(scenario())


def test_an_undecided_image_of_a_large_call_does_not_wait_for_the_end_of_another() -> None:
    async def scenario() -> None:
        cascade, (first, second) = networks(2, 1, is_fast=False)
        batcher = Batcher(cascade)
        others = batcher.submit(images(*range(20)))
        large = batcher.submit(images(250, 30, 31))
        first.let_go()
        second.let_go()
        assert stages(await large) == [1, 0, 0]
        assert not others.done()
        assert values(await others) == list(range(20))

    run(scenario())


def test_a_fast_stage_answers_while_the_thread_runs() -> None:
    async def scenario() -> None:
        cascade, (_, second) = networks(4, 1, is_fast=True)
        batcher = Batcher(cascade)
        undecided = batcher.submit(images(201))
        await started(second, 1)
        assert stages(await batcher.submit(images(*range(1, 10)))) == [0] * 9
        assert not undecided.done()
        second.let_go()
        assert stages(await undecided) == [1]

    run(scenario())


@on_loop_and_in_thread
def test_who_is_decided_does_not_wait_for_the_undecided_ones_of_others(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (first, second) = networks(4, 1, is_fast=is_fast)
        batcher = Batcher(cascade)
        await busy(batcher, first)
        undecided, decided = batcher.submit(images(201)), batcher.submit(images(2))
        first.let_go()
        assert stages(await decided) == [0]
        assert not undecided.done()
        assert first.runs == [[201, 2]]
        second.let_go()
        assert stages(await undecided) == [1]

    run(scenario())


@on_loop_and_in_thread
def test_a_later_stage_that_fails_reaches_its_callers_alone(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (first, second) = networks(4, 1, is_fast=is_fast)
        second.broken = {202}
        batcher = Batcher(cascade)
        await busy(batcher, first)
        answers = [batcher.submit(images(*some)) for some in ((1, 202), (203,), (4,))]
        first.let_go()
        second.let_go()
        failed, *others = await asyncio.gather(*answers, return_exceptions=True)
        assert str(failed) == "the network broke"
        assert [stages(rows) for rows in others if isinstance(rows, np.ndarray)] == [[1], [0]]
        assert values(await batcher.submit(images(250))) == [250]

    run(scenario())


@on_loop_and_in_thread
def test_its_thread_ends_when_nobody_refers_to_it(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (first, second) = networks(4, 1, is_fast=is_fast)
        first.let_go()
        second.let_go()
        batcher = Batcher(cascade)
        assert stages(await batcher.submit(images(201))) == [1]
        (thread,) = second.threads
        assert thread.name.startswith("inference")
        assert thread.is_alive()
        gone = weakref.ref(batcher)
        del batcher
        gc.collect()
        assert gone() is None
        await asyncio.to_thread(thread.join, TIMEOUT_SECONDS)
        assert not thread.is_alive()

    run(scenario())


@on_loop_and_in_thread
def test_a_call_under_way_is_answered_though_nobody_refers_to_the_batcher(is_fast: bool) -> None:
    async def scenario() -> None:
        cascade, (first, second) = networks(4, 1, is_fast=is_fast)
        batcher = Batcher(cascade)
        answer = batcher.submit(images(1, 201, 2, 202, 3, 203))
        del batcher
        gc.collect()
        first.let_go()
        await started(second, 1)
        gc.collect()
        second.let_go()
        assert values(await answer) == [1, 201, 2, 202, 3, 203]

    run(scenario())


@pytest.mark.parametrize("is_fast", [True, False])
def test_the_network_alone_can_be_asked(is_fast: bool) -> None:
    """The stage after a fast first one, or the first one in the thread: what it leaves undecided is final."""

    async def scenario() -> None:
        cascade, found = networks(8, 4, 1, is_fast=is_fast)
        for network in found:
            network.let_go()
        batcher = Batcher(cascade)
        rows = await batcher.submit(images(1, UNDECIDED, UNDECIDED + 1, 2, 3), network_only=True)
        assert values(rows) == [1, UNDECIDED, UNDECIDED + 1, 2, 3]
        stage = int(is_fast)
        assert stages(rows) == [stage] * 5
        assert [bool(network.runs) for network in found] == [number == stage for number in range(3)]
        # Others go through all stages as before.
        assert stages(await batcher.submit(images(UNDECIDED))) == [2]

    run(scenario())
