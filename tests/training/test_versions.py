"""Version folders: published whole or not at all."""

import dataclasses
import os
import threading
import time
from pathlib import Path

import pytest

from training import versions
from training.card import Card, CardError, Metrics
from training.versions import VersionError


def stage(folder: Path, content: bytes = b"network") -> Path:
    folder.mkdir(parents=True)
    for name in versions.ARTIFACTS:
        (folder / name).write_bytes(content + name.encode())
    (folder / "report").mkdir()
    (folder / "report" / "history.csv").write_text("epoch\n1\n")
    files = {name: versions.digest(folder / name) for name in versions.ARTIFACTS}
    card = Card(created="2026-01-01T00:00:00Z", parameters=1, files=files, libraries={})
    (folder / versions.CARD).write_text(card.to_json())
    return folder


def test_publishing_counts_up_and_the_first_serves(tmp_path: Path) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    assert [versions.publish(staged, models) for _ in range(3)] == [1, 2, 3]
    assert versions.current(models) == 1
    assert versions.numbers(models) == [1, 2, 3]
    assert versions.verify(models / "3").card.version == 3
    assert (models / "3" / "report" / "history.csv").exists()
    assert sorted(path.name for path in models.iterdir()) == ["1", "2", "3", "CURRENT"]
    assert versions.card_of(staged).version == 0  # what was staged stays as it was


def test_numbers_are_not_used_again_while_a_higher_one_is_there(tmp_path: Path) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    (models / "7").mkdir(parents=True)
    assert versions.publish(staged, models) == 8


def test_publishing_at_the_same_time_loses_nothing(tmp_path: Path) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    numbers: list[int] = []
    threads = [threading.Thread(target=lambda: numbers.append(versions.publish(staged, models))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 9))
    for number in numbers:
        assert versions.verify(models / str(number)).card.version == number


def test_a_damaged_candidate_is_not_published(tmp_path: Path) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    (staged / versions.WEIGHTS).write_bytes(b"other")
    with pytest.raises(VersionError, match=r"model\.bin"):
        versions.publish(staged, models)
    assert versions.numbers(models) == []


def test_what_a_killed_publisher_left_is_swept_after_an_hour(tmp_path: Path) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    for name, age in ((".incoming-old", 4000), (".incoming-new", 10)):
        (models / name).mkdir(parents=True)
        os.utime(models / name, (time.time() - age,) * 2)
    versions.publish(staged, models)
    assert sorted(path.name for path in models.iterdir()) == [".incoming-new", "1", "CURRENT"]


def test_odd_names_are_not_versions(tmp_path: Path) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    models.mkdir()
    (models / "1").write_text("a file, not a folder")
    (models / "007").mkdir()
    (models / "two").mkdir()
    assert versions.publish(staged, models) == 2
    assert versions.numbers(models) == [2]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    versions.publish(staged, models)
    versions.publish(staged, models)
    before = sorted(path.name for path in models.iterdir())

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for attempt in (lambda: versions.activate(models, 2), lambda: versions.publish(staged, models)):
        with pytest.raises(OSError, match="No space"):
            attempt()
    assert sorted(path.name for path in models.iterdir()) == before
    assert versions.current(models) == 1


def test_activation_refuses_what_is_not_sound(tmp_path: Path) -> None:
    staged, models = stage(tmp_path / "staged"), tmp_path / "models"
    versions.publish(staged, models)
    versions.publish(staged, models)
    versions.activate(models, 2)
    assert versions.current(models) == 2
    (models / "1" / versions.KERAS).write_bytes(b"")
    for number in (1, 9):
        with pytest.raises(VersionError):
            versions.activate(models, number)
    assert versions.current(models) == 2


def test_the_card_of_another_version_is_refused(tmp_path: Path) -> None:
    models = tmp_path / "models"
    versions.publish(stage(tmp_path / "staged"), models)
    (models / "1").rename(models / "4")
    with pytest.raises(VersionError, match="version 1"):
        versions.verify(models / "4")


def test_every_byte_of_a_version_is_guarded(tmp_path: Path) -> None:
    models = tmp_path / "models"
    versions.publish(stage(tmp_path / "staged"), models)
    for name in versions.ARTIFACTS:
        path = models / "1" / name
        content = path.read_bytes()
        for place in range(len(content)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(VersionError, match=name):
                versions.verify(models / "1")
        path.write_bytes(content)
    versions.verify(models / "1")


def test_cards_come_back_as_they_were() -> None:
    card = Card(
        created="2026-01-01T00:00:00Z",
        parameters=3,
        files={"model.keras": "0"},
        libraries={"keras": "3"},
        recipe={"name": "x"},
        metrics={"test": Metrics(images=10, correct=9, accuracy=0.9, nll=0.3)},
        parent=2,
    )
    assert Card.from_json(card.to_json()) == card
    assert Card.from_json(dataclasses.replace(card, version=4).to_json()).version == 4


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', '{"format": 1}', '{"format": 1, "colour": "red"}', "[" * 99_999]
)
def test_what_is_not_a_card(text: str) -> None:
    with pytest.raises(CardError):
        Card.from_json(text)
