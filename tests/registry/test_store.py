"""Version folders: published whole or not at all."""

import dataclasses
import fcntl
import json
import os
import threading
from pathlib import Path

import pytest

from app.registry import store
from app.registry.manifest import Manifest, ManifestError, Metrics
from app.registry.store import VersionError
from tests.support.waiting import TIMEOUT_SECONDS


def stage(folder: Path, content: bytes = b"network") -> Path:
    folder.mkdir(parents=True)
    for name in store.ARTIFACTS:
        (folder / name).write_bytes(content + name.encode())
    (folder / "report").mkdir()
    (folder / "report" / "history.csv").write_text("epoch\n1\n")
    files = {name: store.digest(folder / name) for name in store.ARTIFACTS}
    manifest = Manifest(created="2026-01-01T00:00:00Z", parameters=1, files=files, libraries={})
    (folder / store.MANIFEST).write_text(manifest.to_json())
    return folder


def test_publishing_counts_up_and_the_first_serves(tmp_path: Path) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    assert [store.publish(staged, models) for _ in range(3)] == [1, 2, 3]
    assert store.current(models) == 1
    assert store.numbers(models) == [1, 2, 3]
    assert store.verify(models / "3").manifest.version == 3
    assert (models / "3" / "report" / "history.csv").exists()
    assert sorted(path.name for path in models.iterdir()) == ["1", "2", "3", "CURRENT"]
    assert store.read_manifest(staged).version == 0  # what was staged stays as it was


def test_numbers_are_not_used_again_while_a_higher_one_is_there(tmp_path: Path) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    (models / "7").mkdir(parents=True)
    assert store.publish(staged, models) == 8


def test_publishing_at_the_same_time_loses_nothing(tmp_path: Path) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    numbers: list[int] = []
    threads = [threading.Thread(target=lambda: numbers.append(store.publish(staged, models))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 9))
    for number in numbers:
        assert store.verify(models / str(number)).manifest.version == number


def test_a_damaged_candidate_is_not_published(tmp_path: Path) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    (staged / store.WEIGHTS).write_bytes(b"other")
    with pytest.raises(VersionError, match=r"model\.bin"):
        store.publish(staged, models)
    assert store.numbers(models) == []


def leave_halves(models: Path) -> None:
    """What a publisher leaves that is killed just now."""
    (models / ".incoming-abc" / "report").mkdir(parents=True)
    (models / ".incoming-abc" / store.MANIFEST).write_text("{")
    (models / ".current-abc").write_text("7")


def test_what_a_killed_publisher_left_is_swept(tmp_path: Path) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    for write in (lambda: store.publish(staged, models), lambda: store.activate(models, 1)):
        leave_halves(models)
        write()
        assert sorted(path.name for path in models.iterdir()) == ["1", "CURRENT"]


def test_tidying_only_sweeps(tmp_path: Path) -> None:
    models = tmp_path / "models"
    store.tidy(models)
    assert not models.exists()
    leave_halves(models)
    (models / ".gitignore").touch()
    store.tidy(models)
    assert [path.name for path in models.iterdir()] == [".gitignore"]


@pytest.mark.parametrize("write", ["publish", "activate", "tidy"])
def test_a_writer_waits_for_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: str) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    store.publish(staged, models)
    (models / ".incoming-of-the-other").mkdir()
    calls = {
        "publish": lambda: store.publish(staged, models),
        "activate": lambda: store.activate(models, 1),
        "tidy": lambda: store.tidy(models),
    }
    held = os.open(models, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    waits, lock = threading.Event(), fcntl.flock

    def flock(file: int, operation: int) -> None:
        waits.set()
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    thread = threading.Thread(target=calls[write])
    thread.start()
    assert waits.wait(TIMEOUT_SECONDS)
    assert thread.is_alive()
    assert sorted(path.name for path in models.iterdir()) == [".incoming-of-the-other", "1", "CURRENT"]
    os.close(held)
    thread.join(TIMEOUT_SECONDS)
    assert not thread.is_alive()
    assert not (models / ".incoming-of-the-other").exists()


def of_job(staged: Path, job: int | None) -> Path:
    manifest = dataclasses.replace(store.read_manifest(staged), job=job)
    (staged / store.MANIFEST).write_text(manifest.to_json())
    return staged


def test_what_a_job_made_is_published_once(tmp_path: Path) -> None:
    staged, models = of_job(stage(tmp_path / "staged"), 5), tmp_path / "models"
    assert [store.publish(staged, models) for _ in range(2)] == [1, 1]
    assert store.publish(of_job(staged, 6), models) == 2
    assert store.publish(of_job(staged, None), models) == 3
    assert store.publish(of_job(staged, 5), models) == 1
    assert store.numbers(models) == [1, 2, 3]
    (models / "1" / store.MANIFEST).write_text("damaged")
    assert store.publish(of_job(staged, 6), models) == 2


def test_publishing_a_job_again_ends_what_was_interrupted(tmp_path: Path) -> None:
    """Killed between the rename and CURRENT."""
    staged, models = of_job(stage(tmp_path / "staged"), 5), tmp_path / "models"
    store.publish(staged, models)
    (models / store.CURRENT).unlink()
    assert store.publish(staged, models) == 1
    assert store.current(models) == 1


def test_a_new_database_counts_its_jobs_anew(tmp_path: Path) -> None:
    models = tmp_path / "models"
    assert store.publish(of_job(stage(tmp_path / "old", b"old"), 1), models) == 1
    assert store.publish(of_job(stage(tmp_path / "new", b"new"), 1), models) == 2


def test_odd_names_are_not_versions(tmp_path: Path) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    models.mkdir()
    (models / "1").write_text("a file, not a folder")
    (models / "007").mkdir()
    (models / "two").mkdir()
    assert store.publish(staged, models) == 2
    assert store.numbers(models) == [2]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    store.publish(staged, models)
    store.publish(staged, models)
    before = sorted(path.name for path in models.iterdir())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for attempt in (lambda: store.activate(models, 2), lambda: store.publish(staged, models)):
        with pytest.raises(OSError, match="No space"):
            attempt()
    assert sorted(path.name for path in models.iterdir()) == before
    assert store.current(models) == 1


def test_what_names_no_version_in_current(tmp_path: Path) -> None:
    for content in ("", "\n", "two\n", "-1", "1.0", "01", "9" * 5000, "²", "../1"):
        (tmp_path / store.CURRENT).write_text(content)
        with pytest.raises(VersionError, match="CURRENT"):
            store.current(tmp_path)
        (tmp_path / store.CURRENT).write_text("17\n")
        assert store.current(tmp_path) == 17, content


def test_activation_refuses_what_is_not_sound(tmp_path: Path) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    store.publish(staged, models)
    store.publish(staged, models)
    store.activate(models, 2)
    assert store.current(models) == 2
    (models / "1" / store.KERAS).write_bytes(b"")
    for number in (1, 9):
        with pytest.raises(VersionError):
            store.activate(models, number)
    assert store.current(models) == 2


def test_the_manifest_of_another_version_is_refused(tmp_path: Path) -> None:
    models = tmp_path / "models"
    store.publish(stage(tmp_path / "staged"), models)
    (models / "1").rename(models / "4")
    with pytest.raises(VersionError, match="version 1"):
        store.verify(models / "4")


def test_every_byte_of_a_version_is_guarded(tmp_path: Path) -> None:
    models = tmp_path / "models"
    store.publish(stage(tmp_path / "staged"), models)
    for name in store.ARTIFACTS:
        path = models / "1" / name
        content = path.read_bytes()
        for place in range(len(content)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(VersionError, match=name):
                store.verify(models / "1")
        path.write_bytes(content)
    store.verify(models / "1")


def test_manifests_come_back_as_they_were() -> None:
    manifest = Manifest(
        created="2026-01-01T00:00:00Z",
        parameters=3,
        files={"model.keras": "0"},
        libraries={"keras": "3"},
        recipe={"name": "x"},
        metrics={"test": Metrics(images=10, correct=9, accuracy=0.9, nll=0.3)},
        parent=2,
        job=3,
    )
    assert Manifest.from_json(manifest.to_json()) == manifest
    values = json.loads(manifest.to_json())
    del values["job"]  # a manifest from before there were jobs
    assert Manifest.from_json(json.dumps(values)) == dataclasses.replace(manifest, job=None)
    with pytest.raises(ManifestError, match="job"):
        Manifest.from_json(json.dumps(values | {"job": "3"}))
    assert Manifest.from_json(dataclasses.replace(manifest, version=4).to_json()).version == 4


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', '{"format": 1}', '{"format": 1, "colour": "red"}', "[" * 99_999]
)
def test_what_is_not_a_manifest(text: str) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_json(text)


def test_what_counts_as_learned() -> None:
    manifest = Manifest(created="", parameters=1, files={}, libraries={}, data={"train": "a", "validation": "b"})
    assert not manifest.has_learned("b")
    assert manifest.has_learned("c")
    assert dataclasses.replace(manifest, data={"train": "a", "test": "b"}).has_learned("b")


def test_an_empty_folder_is_seeded_once(tmp_path: Path) -> None:
    """By several at the same time, and with the number that serves where it comes from."""
    shipped, models = tmp_path / "shipped", tmp_path / "models"
    for content in (b"one", b"two"):
        store.publish(stage(tmp_path / content.decode(), content), shipped)
    store.activate(shipped, 2)
    seeded: list[bool] = []
    threads = [threading.Thread(target=lambda: seeded.append(store.seed(shipped, models))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seeded) == [False] * 7 + [True]
    assert sorted(path.name for path in models.iterdir()) == ["2", "CURRENT"]
    assert store.current(models) == 2
    assert store.verify(models / "2").manifest.files == store.read_manifest(shipped / "2").files


def test_a_seed_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    shipped, models = tmp_path / "shipped", tmp_path / "models"
    store.publish(stage(tmp_path / "staged"), shipped)
    (models / ".incoming-x").mkdir(parents=True)  # killed while copying
    assert store.seed(shipped, models)
    (models / "CURRENT").unlink()  # killed before it was named
    assert store.seed(shipped, models)
    assert sorted(path.name for path in models.iterdir()) == ["1", "CURRENT"]


def test_a_folder_with_versions_of_its_own_is_not_seeded(tmp_path: Path) -> None:
    shipped, models = tmp_path / "shipped", tmp_path / "models"
    store.publish(stage(tmp_path / "staged"), shipped)
    for content in (b"one", b"two"):
        store.publish(stage(tmp_path / content.decode(), content), models)
    (models / "CURRENT").unlink()
    assert not store.seed(shipped, models)
    assert sorted(path.name for path in models.iterdir()) == ["1", "2"]
