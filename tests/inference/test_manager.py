"""One version takes another's place within a process."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from app.errors import ModelError, Overloaded, VersionNotFound, VersionUnusable
from app.inference import manager
from app.inference.manager import LoadError, ModelManager
from app.registry import store
from tests.support.images import handwritten
from tests.support.versions import add, answer, describe, point, shipped
from tests.support.waiting import TIMEOUT_SECONDS, until, wait_for

IMAGE = handwritten(7, np.random.default_rng(0))


class Counts:
    """An observer that counts."""

    def __init__(self) -> None:
        self.batches = self.failures = 0
        self.served: list[int] = []
        self.is_behind = False

    def batch(self, images: int) -> None:
        self.batches += 1

    def serving(self, name: str, version: int) -> None:
        self.served.append(version)
        self.is_behind = False

    def behind(self) -> None:
        self.is_behind = True

    def load_failed(self) -> None:
        self.failures += 1


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no test waits long for it."""
    monkeypatch.setattr(manager, "POLL_SECONDS", 0.02)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    models = shipped(tmp_path / "digits")
    add(models, 2)
    return models


def watched(models: Path, counts: Counts, scenario: Callable[[ModelManager], Awaitable[None]]) -> None:
    """Run a scenario while the manager follows CURRENT."""

    async def tell() -> None:
        service = ModelManager(models, 1, counts)
        watching = asyncio.create_task(service.watch())
        try:
            await asyncio.wait_for(scenario(service), TIMEOUT_SECONDS)
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    asyncio.run(tell())


def inference_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("inference")}


def without_fast_stage(models: Path) -> None:
    """Let every run of both versions go through the thread."""
    for number in (1, 2):
        describe(models / str(number), version=number, cascade_threshold=None)


@pytest.mark.parametrize("is_fast", [True, False], ids=["on the loop", "in the thread"])
def test_a_request_keeps_the_version_that_it_took(models: Path, is_fast: bool) -> None:
    if not is_fast:
        without_fast_stage(models)
    answers = [answer(models, number, IMAGE) for number in (1, 2)]
    assert np.abs(answers[0] - answers[1]).max() > 0.1

    async def scenario(service: ModelManager) -> None:
        old = service.model
        point(models, "2\n")
        await until(lambda: service.model.manifest.version == 2, "version 2")
        # Long after the exchange, and called for the first time.
        assert old.manifest.version == 1
        assert np.allclose((await old.batcher.submit(IMAGE[None]))[0], answers[0], atol=1e-5)
        assert np.allclose((await service.model.batcher.submit(IMAGE[None]))[0], answers[1], atol=1e-5)

    watched(models, Counts(), scenario)


def test_threads_end_with_the_version_that_nobody_refers_to(models: Path) -> None:
    without_fast_stage(models)
    others = inference_threads()  # of apps in other tests, which their lifespan has kept from the collector

    def threads() -> int:
        return len(inference_threads() - others)

    async def scenario(service: ModelManager) -> None:
        old = service.model
        await service.activate(2)
        for model in (old, service.model):
            await model.batcher.submit(IMAGE[None])
        assert threads() == 2
        batcher = old.batcher
        del old, model
        gc.collect()
        assert (await batcher.submit(IMAGE[None])).shape == (1, 10)  # the batcher alone is enough
        assert threads() == 2
        del batcher
        gc.collect()
        await until(lambda: threads() == 1, "the thread's end")

    watched(models, Counts(), scenario)
    gc.collect()
    wait_for(lambda: threads() == 0, "the thread of the version that served last")


@pytest.mark.parametrize("is_fast", [True, False], ids=["on the loop", "in the thread"])
def test_a_request_under_way_is_answered_though_nobody_else_has_its_version(models: Path, is_fast: bool) -> None:
    if not is_fast:
        without_fast_stage(models)
    expected = answer(models, 1, IMAGE)

    async def scenario(service: ModelManager) -> None:
        old = service.model
        await service.activate(2)
        waiting = [old.batcher.submit(np.stack([IMAGE] * 64)) for _ in range(3)]
        del old
        gc.collect()
        assert not any(answer.done() for answer in waiting)
        for rows in await asyncio.gather(*waiting):
            assert np.allclose(rows, expected, atol=1e-5)

    watched(models, Counts(), scenario)


def test_batches_swaps_and_failures_are_counted(models: Path) -> None:
    counts = Counts()

    async def scenario(service: ModelManager) -> None:
        assert counts.served == [1]
        await service.model.batcher.submit(IMAGE[None])
        assert counts.batches == 1
        assert (await service.activate(2)).version == 2
        assert counts.served == [1, 2]
        await service.model.batcher.submit(IMAGE[None])
        assert counts.batches == 2
        (models / "1" / store.WEIGHTS).write_bytes(b"")
        with pytest.raises(VersionUnusable):
            await service.activate(1)
        assert counts.failures == 1
        assert counts.served == [1, 2]

    watched(models, counts, scenario)


def test_no_more_images_wait_for_the_model_than_may(models: Path) -> None:
    async def scenario() -> None:
        service = ModelManager(models, 1, Counts(), max_waiting=2)
        waiting = [service.model.batcher.submit(IMAGE[None]) for _ in range(2)]
        with pytest.raises(Overloaded):
            service.model.batcher.submit(IMAGE[None])
        await asyncio.gather(*waiting)

    asyncio.run(scenario())


def test_a_first_version_that_does_not_load_is_an_error(models: Path) -> None:
    counts = Counts()
    (models / "1" / store.WEIGHTS).write_bytes(b"")
    with pytest.raises(ModelError, match=r"1/model\.bin: "):
        ModelManager(models, 1, counts)
    (models / store.CURRENT).unlink()
    with pytest.raises(ModelError, match="CURRENT"):
        ModelManager(models, 1, counts)
    assert counts.failures == 2
    assert not counts.served


def test_a_load_error_is_logged_once_and_tried_again(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "RETRY_SECONDS", 0.1)
    counts = Counts()
    logged: list[str] = []
    monkeypatch.setattr(manager._log, "error", lambda text, **_: logged.append(text))

    async def scenario(service: ModelManager) -> None:
        refuse = True

        def load(*arguments: object, **named: object) -> object:
            if refuse:
                raise ModelError("the disk is full")
            return plain(*arguments, **named)  # type: ignore[arg-type]

        plain = manager.load_version
        monkeypatch.setattr(manager, "load_version", load)
        point(models, "2\n")
        await until(lambda: counts.failures >= 3, "three attempts")
        assert service.model.manifest.version == 1
        assert service.load_error == LoadError(2, "the disk is full")
        assert counts.is_behind
        refuse = False
        await until(lambda: service.model.manifest.version == 2, "version 2")
        assert service.load_error is None
        assert not counts.is_behind

    watched(models, counts, scenario)
    assert counts.served == [1, 2]
    assert logged == ["version 1 goes on serving: the disk is full"]


def test_the_manager_goes_on_following_current_whatever_goes_wrong(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = Counts()

    async def scenario(service: ModelManager) -> None:
        def load(*arguments: object, **named: object) -> object:
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(manager, "load_version", load)
            point(models, "2\n")
            await until(lambda: service.load_error is not None, "the error")
            assert service.load_error
            assert service.load_error.version == 2
        point(models, "1\n")
        await until(lambda: service.load_error is None, "that all is well")
        point(models, "2\n")
        await until(lambda: service.model.manifest.version == 2, "version 2")

    watched(models, counts, scenario)


def test_the_event_loop_goes_on_while_a_version_loads(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(service: ModelManager) -> None:
        loading, go = threading.Event(), threading.Event()
        plain = manager.load_version

        def load(*arguments: object, **named: object) -> object:
            loading.set()
            assert go.wait(TIMEOUT_SECONDS)
            return plain(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(manager, "load_version", load)
        point(models, "2\n")
        await until(loading.is_set, "the load")
        model = service.model
        for _ in range(10):
            assert (await model.batcher.submit(IMAGE[None])).shape == (1, 10)
        go.set()
        await until(lambda: service.model.manifest.version == 2, "version 2")

    watched(models, Counts(), scenario)


def test_a_version_that_is_not_sound_leaves_current_alone(models: Path) -> None:
    async def scenario(service: ModelManager) -> None:
        (models / "2" / store.WEIGHTS).write_bytes(b"")
        with pytest.raises(VersionUnusable, match=r"^2/model\.bin: "):
            await service.activate(2)
        assert store.current(models) == 1
        assert service.model.manifest.version == 1

    watched(models, Counts(), scenario)


def test_a_version_that_is_not_there_cannot_be_activated(models: Path) -> None:
    async def scenario(service: ModelManager) -> None:
        with pytest.raises(VersionNotFound, match="there is no version 7; there are: 1, 2"):
            await service.activate(7)
        assert store.current(models) == 1

    watched(models, Counts(), scenario)


def test_current_that_names_no_version_is_a_load_error(models: Path) -> None:
    counts = Counts()

    async def scenario(service: ModelManager) -> None:
        point(models, "nonsense\n")
        await until(lambda: service.load_error is not None, "the error")
        assert service.load_error
        assert service.load_error.version is None
        assert service.load_error.reason.startswith("CURRENT")
        assert service.model.manifest.version == 1
        assert counts.is_behind
        point(models, "1\n")
        await until(lambda: service.load_error is None, "that all is well")
        assert not counts.is_behind

    watched(models, counts, scenario)


def test_files_that_change_while_they_are_loaded_are_not_served(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = store.verify

    def verify(path: Path) -> store.Version:
        version = plain(path)
        (path / store.WEIGHTS).write_bytes((models / "2" / store.WEIGHTS).read_bytes())
        return version

    monkeypatch.setattr(store, "verify", verify)
    with pytest.raises(ModelError, match=r"1/model\.bin"):
        ModelManager(models, 1, Counts())
