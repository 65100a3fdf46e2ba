"""One version takes another's place within a process."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from app.errors import ModelError, VersionUnusable
from app.inference import serving
from app.inference.serving import Serving
from tests.samples import handwritten
from tests.versions import add, answer, point, shipped
from training import versions

IMAGE = handwritten(7, np.random.default_rng(0))


class Counts:
    """An observer that remembers."""

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


@pytest.fixture
def models(tmp_path: Path) -> Path:
    models = shipped(tmp_path / "digits")
    add(models, 2)
    return models


def watched(models: Path, counts: Counts, story: Callable[[Serving], Awaitable[None]]) -> None:
    """Tell a story while the watcher runs."""

    async def tell() -> None:
        service = Serving(models, 1)
        service.tell(counts)
        watching = asyncio.create_task(service.watch())
        try:
            await asyncio.wait_for(story(service), 60)
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            service.close()

    asyncio.run(tell())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def inference_threads() -> int:
    return sum(thread.name.startswith("inference") for thread in threading.enumerate())


def test_a_request_keeps_the_version_that_it_took(models: Path) -> None:
    async def story(service: Serving) -> None:
        old = service.live
        point(models, "2\n")
        await until(lambda: service.live.card.version == 2)
        # Long after the exchange, and called for the first time.
        assert np.allclose((await old.batcher.submit(IMAGE[None]))[0], answer(models, 1, IMAGE), atol=1e-5)
        assert np.allclose((await service.live.batcher.submit(IMAGE[None]))[0], answer(models, 2, IMAGE), atol=1e-5)
        assert inference_threads() == 2
        batcher = old.batcher
        del old
        gc.collect()
        assert (await batcher.submit(IMAGE[None])).shape == (1, 10)  # whoever has but the batcher has enough
        del batcher
        gc.collect()
        await until(lambda: inference_threads() == 1)

    watched(models, Counts(), story)
    assert inference_threads() == 0


def test_a_request_under_way_is_answered_though_nobody_else_has_its_version(models: Path) -> None:
    async def story(service: Serving) -> None:
        waiting = [service.live.batcher.submit(np.stack([IMAGE] * 64)) for _ in range(20)]
        await service.activate(2)
        gc.collect()
        for rows in await asyncio.gather(*waiting):
            assert np.allclose(rows, answer(models, 1, IMAGE), atol=1e-5)

    watched(models, Counts(), story)


def test_a_fault_is_told_once_and_tried_again(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "RETRY_EVERY", 0.1)
    counts = Counts()
    told: list[str] = []
    monkeypatch.setattr(serving._log, "error", lambda text, **_: told.append(text))

    async def story(service: Serving) -> None:
        refuse = True

        def load(*arguments: object, **named: object) -> object:
            if refuse:
                raise ModelError("there is a war on")
            return plain(*arguments, **named)  # type: ignore[arg-type]

        plain = serving.load
        monkeypatch.setattr(serving, "load", load)
        point(models, "2\n")
        await until(lambda: counts.failures >= 3)
        assert service.live.card.version == 1
        assert service.fault == serving.Fault(2, "there is a war on")
        assert counts.is_behind
        refuse = False
        await until(lambda: service.live.card.version == 2)
        assert service.fault is None
        assert not counts.is_behind

    watched(models, counts, story)
    assert counts.served == [1, 2]
    assert told == ["version 1 goes on serving: there is a war on"]


def test_whatever_goes_wrong_the_watcher_goes_on(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts()

    async def story(service: Serving) -> None:
        def load(*arguments: object, **named: object) -> object:
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(serving, "load", load)
            point(models, "2\n")
            await until(lambda: service.fault is not None)
            assert service.fault
            assert service.fault.version == 2
        point(models, "1\n")
        await until(lambda: service.fault is None)
        point(models, "2\n")
        await until(lambda: service.live.card.version == 2)

    watched(models, counts, story)


def test_the_event_loop_goes_on_while_a_version_loads(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(service: Serving) -> None:
        loading, go = threading.Event(), threading.Event()
        plain = serving.load

        def load(*arguments: object, **named: object) -> object:
            loading.set()
            assert go.wait(30)
            return plain(*arguments, **named)  # type: ignore[arg-type]

        monkeypatch.setattr(serving, "load", load)
        point(models, "2\n")
        await until(loading.is_set)
        live = service.live
        for _ in range(10):
            assert (await live.batcher.submit(IMAGE[None])).shape == (1, 10)
        go.set()
        await until(lambda: service.live.card.version == 2)

    watched(models, Counts(), story)


def test_a_version_that_is_not_sound_leaves_current_alone(models: Path) -> None:
    async def story(service: Serving) -> None:
        (models / "2" / versions.WEIGHTS).write_bytes(b"")
        with pytest.raises(VersionUnusable, match=r"^2/model\.bin: "):
            await service.activate(2)
        assert versions.current(models) == 1
        assert service.live.card.version == 1

    watched(models, Counts(), story)


def test_files_that_change_while_they_are_loaded_are_not_served(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = versions.verify

    def verify(path: Path) -> versions.Version:
        version = plain(path)
        (path / versions.WEIGHTS).write_bytes((models / "2" / versions.WEIGHTS).read_bytes())
        return version

    monkeypatch.setattr(versions, "verify", verify)
    with pytest.raises(ModelError, match=r"1/model\.bin"):
        Serving(models, 1)
