"""Archives of corrections: read whole or refused with the entry, and mixed with MNIST."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.images import encode
from tests.support.training import write_archive
from training import feedback
from training.data import Split
from training.errors import TrainingError


def some(count: int, seed: int = 0) -> Split:
    random = np.random.default_rng(seed)
    return Split(random.integers(0, 256, (count, 28, 28), np.uint8), random.integers(0, 10, count, np.uint8))


def test_an_archive_comes_back_as_it_was(tmp_path: Path) -> None:
    one, two, three = some(3), some(2, seed=1), some(4, seed=2)
    read = feedback.load(write_archive(tmp_path / "a.zip", [(one, False), (two, True), (three, False)]))
    assert np.array_equal(read.train.images, np.concatenate([one.images, three.images]))
    assert np.array_equal(read.train.labels, np.concatenate([one.labels, three.labels]))
    assert np.array_equal(read.held_out.images, two.images)
    assert np.array_equal(read.held_out.labels, two.labels)


def test_an_archive_of_nothing(tmp_path: Path) -> None:
    read = feedback.load(write_archive(tmp_path / "a.zip", []))
    for split in (read.train, read.held_out):
        assert (split.images.shape, split.images.dtype) == ((0, 28, 28), np.uint8)
        assert (split.labels.shape, split.labels.dtype) == ((0,), np.uint8)


def damaged(path: Path, line: Any, image: bytes | None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("feedback.jsonl", line if isinstance(line, str) else json.dumps(line))
        if image is not None:
            archive.writestr("seen/1.png", image)
    return path


GOOD = {"id": 1, "label": 7, "held_back": False, "seen": "seen/1.png"}
PNG = encode(np.zeros((28, 28), np.uint8))


@pytest.mark.parametrize(
    ("line", "image", "words"),
    [
        ("{", PNG, "line 1 of feedback.jsonl"),
        ("[" * 99_999, PNG, "line 1 of feedback.jsonl"),
        ([], PNG, "line 1 .*object"),
        (GOOD | {"label": 10}, PNG, "label is 10"),
        (GOOD | {"label": True}, PNG, "label is True"),
        (GOOD | {"label": "7"}, PNG, "label is '7'"),
        (GOOD | {"held_back": 0}, PNG, "held_back is 0"),
        (GOOD | {"seen": None}, PNG, "seen is None"),
        (GOOD, None, "seen/1.png is missing"),
        (GOOD, b"", "seen/1.png is no PNG"),
        (GOOD, PNG[:40], "seen/1.png is no PNG"),
        (GOOD, encode(np.zeros((28, 28), np.uint8), "BMP"), "seen/1.png is no PNG"),
        (GOOD, encode(np.zeros((28, 29), np.uint8)), "seen/1.png is 29x28"),
        (GOOD, encode(Image.new("RGB", (28, 28))), "mode RGB"),
        (GOOD, PNG + bytes(30_000), "seen/1.png has 30,0.. bytes"),
    ],
)
def test_what_is_wrong_with_an_entry_is_named(tmp_path: Path, line: Any, image: bytes | None, words: str) -> None:
    with pytest.raises(TrainingError, match=f"a.zip.*{words}") as caught:
        feedback.load(damaged(tmp_path / "a.zip", line, image))
    assert "\n" not in str(caught.value)


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"none\.zip is missing"):
        feedback.load(tmp_path / "none.zip")
    with pytest.raises(TrainingError, match="cannot be read as a ZIP file"):
        feedback.load(tmp_path)
    whole = write_archive(tmp_path / "whole.zip", [(some(3), False)]).read_bytes()
    for name, content in (("empty.zip", b""), ("cut.zip", whole[:-40]), ("text.zip", b"no archive")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TrainingError, match=f"{name} cannot be read as a ZIP file"):
            feedback.load(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "other.zip", "w"):
        pass
    with pytest.raises(TrainingError, match=r"feedback\.jsonl is missing"):
        feedback.load(tmp_path / "other.zip")


def test_no_changed_byte_of_an_archive_breaks_the_reader(tmp_path: Path) -> None:
    """It is read as it is, or refused."""
    content = bytearray(write_archive(tmp_path / "a.zip", [(some(1), False)]).read_bytes())
    refused = 0
    for place in range(len(content)):
        content[place] ^= 0xFF
        (tmp_path / "b.zip").write_bytes(content)
        try:
            feedback.load(tmp_path / "b.zip")
        except TrainingError:
            refused += 1
        content[place] ^= 0xFF
    assert refused > len(content) * 0.9


def test_too_many_corrections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write_archive(tmp_path / "a.zip", [(some(3), False)])
    monkeypatch.setattr(feedback, "MAX_CORRECTIONS", 2)
    with pytest.raises(TrainingError, match="3 lines; at most 2"):
        feedback.load(archive)
    monkeypatch.setattr(feedback, "MAX_LIST_BYTES", 100)
    with pytest.raises(TrainingError, match=r"feedback\.jsonl has .* bytes; at most 100"):
        feedback.load(archive)


def numbered(count: int, first: int) -> Split:
    """Images that can be told apart by their first two pixels."""
    images = np.zeros((count, 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = divmod(np.arange(first, first + count), 256)
    return Split(images, (np.arange(count) % 10).astype(np.uint8))


def numbers(split: Split) -> list[int]:
    return [int(image[0, 0]) * 256 + int(image[0, 1]) for image in split.images]


def test_feedback_makes_up_its_share() -> None:
    mnist, corrections = numbered(1000, 0), numbered(30, 5000)
    mixed = feedback.mix(mnist, corrections, share=0.3, images=700, seed=1)
    found = numbers(mixed)
    learned = [number for number in found if number < 5000]
    assert (len(learned), len(set(learned))) == (700, 700)
    assert len(found) == 1000
    counts = [found.count(5000 + number) for number in range(30)]
    assert (sum(counts), min(counts), max(counts)) == (300, 10, 10)
    uneven = numbers(feedback.mix(mnist, corrections, share=0.1, images=700, seed=1))
    counts = [uneven.count(5000 + number) for number in range(30)]
    assert (sum(counts), min(counts), max(counts)) == (78, 2, 3)
    for number, label in zip(found, mixed.labels, strict=True):
        assert label == (number - (5000 if number >= 5000 else 0)) % 10


def test_more_feedback_than_its_share_is_sampled() -> None:
    found = numbers(feedback.mix(numbered(90, 0), numbered(100, 5000), share=0.1, images=None, seed=1))
    corrections = [number for number in found if number >= 5000]
    assert (len(corrections), len(set(corrections))) == (10, 10)
    assert corrections != list(range(5000, 5010))


def test_a_mix_follows_from_the_seed() -> None:
    mnist, corrections = numbered(200, 0), numbered(30, 5000)
    mixed = [
        feedback.mix(mnist, corrections, share=0.3, images=100, seed=seed).digest() for seed in (1, 1, 2)
    ]  # fmt: skip
    assert mixed[0] == mixed[1] != mixed[2]


def test_without_feedback_it_is_mnist() -> None:
    mnist, none = numbered(100, 0), numbered(0, 0)
    assert feedback.mix(mnist, none, share=0.3, images=None, seed=1).digest() == mnist.digest()
    assert feedback.mix(mnist, none, share=0.3, images=500, seed=1).digest() == mnist.digest()
    assert len(feedback.mix(mnist, none, share=0.3, images=40, seed=1)) == 40
