"""Corrections: one row an image, labels with their history, and an archive that training reads."""

import io
import json
import tempfile
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from PIL import Image

from app import tables
from app.database import Database
from app.errors import DatabaseUnavailable, FeedbackNotFound
from app.retraining.feedback import Example, Feedback
from tests.support.images import encode, handwritten
from training.feedback import load


def example(seed: int, sent: bytes = b"as it came") -> Example:
    random = np.random.default_rng(seed)
    image = handwritten(int(random.integers(10)), random)
    return Example(image, sent, "image/png", prediction=1, probabilities=[0.1] * 10, version=1)


@pytest.fixture
def feedback(base: Database) -> Feedback:
    return Feedback(base)


def test_an_image_is_kept_whole(feedback: Feedback) -> None:
    assert not feedback.any()
    given = example(0)
    kept, new = feedback.keep(given, 7)
    assert new
    (found,) = feedback.page(10, 0)
    assert found.id == kept.id
    assert (found.label, [label for label, _ in found.history]) == (7, [7])
    np.testing.assert_array_equal(found.example.seen, given.seen)
    assert (feedback.sent(found.id), found.example.prediction, found.example.version) == (b"as it came", 1, 1)


def test_the_same_image_twice_is_one_row_and_a_changed_label_has_a_history(feedback: Feedback) -> None:
    first, _ = feedback.keep(example(0), 7)
    again, new = feedback.keep(example(0, sent=b"the same digit in another file"), 7)
    assert (again.id, new, again.history, feedback.sent(again.id)) == (first.id, False, first.history, b"as it came")
    changed, _ = feedback.keep(example(0), 1)
    back, _ = feedback.keep(example(0), 7)
    assert (changed.label, back.label) == (1, 7)
    assert [label for label, _ in back.history] == [7, 1, 7]
    assert len(feedback.page(10, 0)) == 1


def test_the_same_image_at_once_is_one_row(feedback: Feedback) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: feedback.keep(example(0), 7), range(16)))
    assert len({kept.id for kept, _ in found}) == 1
    assert sum(new for _, new in found) == 1


def test_about_one_in_five_is_held_out_and_always_the_same(feedback: Feedback) -> None:
    kept = [feedback.keep(example(seed), 3)[0] for seed in range(100)]
    share = sum(found.held_back for found in kept) / len(kept)
    assert 0.1 < share < 0.3
    assert feedback.any()
    again = [feedback.keep(example(seed), 4)[0] for seed in range(100)]
    assert [found.held_back for found in again] == [found.held_back for found in kept]


def test_pages(feedback: Feedback) -> None:
    ids = [feedback.keep(example(seed), 3)[0].id for seed in range(7)]
    pages, last = [], 0
    while page := feedback.page(3, last):
        pages.append([kept.id for kept in page])
        last = page[-1].id
    assert pages == [ids[:3], ids[3:6], ids[6:]]


def test_the_newest_come_first_where_they_are_asked_for(feedback: Feedback) -> None:
    kept = [feedback.keep(example(seed), 7)[0].id for seed in range(5)]
    assert feedback.count() == 5
    assert [found.id for found in feedback.newest(3, 2**31 - 1)] == kept[:1:-1]
    assert [found.id for found in feedback.newest(3, kept[2])] == kept[1::-1]


def test_what_is_removed_is_gone_with_its_labels(feedback: Feedback, base: Database) -> None:
    first, _ = feedback.keep(example(0), 7)
    second, _ = feedback.keep(example(1), 7)
    feedback.keep(example(0), 1)
    feedback.remove(first.id)
    assert [found.id for found in feedback.page(10, 0)] == [second.id]
    with base.reading() as connection:
        assert connection.execute(sa.select(tables.labels.c.feedback)).scalars().all() == [second.id]
    for call in (feedback.remove, feedback.sent):
        with pytest.raises(FeedbackNotFound, match="GET /feedback"):
            call(first.id)
    again, new = feedback.keep(example(0), 7)
    assert new
    assert again.id > second.id  # a number is never given twice


def test_what_is_removed_while_an_archive_is_written_is_left_out(feedback: Feedback) -> None:
    kept = [feedback.keep(example(seed), 7)[0].id for seed in range(3)]
    pieces = feedback.archive()
    content = next(pieces)
    feedback.remove(kept[1])
    with zipfile.ZipFile(io.BytesIO(content + b"".join(pieces))) as archive:
        lines = [json.loads(line) for line in archive.read("feedback.jsonl").splitlines()]
        assert [line["id"] for line in lines] == [kept[0], kept[2]]
        assert len(archive.namelist()) == 5


def test_the_archive_is_what_training_reads(feedback: Feedback, tmp_path: Path) -> None:
    kept = [feedback.keep(example(seed, sent=f"file {seed}".encode()), seed % 10)[0] for seed in range(30)]
    feedback.keep(example(0), 9)  # the newest label counts
    path = tmp_path / "feedback.zip"
    assert feedback.save_archive(path) == 30
    read = load(path)
    held_back = [found for found in kept if found.held_back]
    learned = [found for found in kept if not found.held_back]
    assert (len(read.train), len(read.held_out)) == (len(learned), len(held_back))
    both = zip((*learned, *held_back), (*read.train.images, *read.held_out.images), strict=True)
    for found, image in both:
        np.testing.assert_array_equal(found.example.seen, image)
    labels = dict(zip([f.id for f in (*learned, *held_back)], (*read.train.labels, *read.held_out.labels), strict=True))
    assert labels[kept[0].id] == 9
    assert labels[kept[1].id] == 1
    with zipfile.ZipFile(path) as archive:
        assert not any(name.startswith("sent/") for name in archive.namelist())  # training reads what was seen
    whole = tmp_path / "whole.zip"
    with whole.open("wb") as file:
        assert feedback.write_archive(file) == 30
    with zipfile.ZipFile(whole) as archive:
        line = json.loads(archive.read("feedback.jsonl").splitlines()[3])
        assert archive.read(line["sent"]) == b"file 3"
        with Image.open(io.BytesIO(archive.read(line["seen"]))) as seen:
            assert seen.size == (28, 28)


def test_a_page_of_large_pictures_is_small(feedback: Feedback) -> None:
    """What was sent may be megabytes each; it is read one at a time, by the archive alone."""
    for seed in range(10):
        feedback.keep(example(seed, sent=bytes(2_000_000)), 3)
    tracemalloc.start()
    assert len(feedback.page(500, 0)) == 10
    with tempfile.TemporaryFile() as file:
        feedback.write_archive(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


def test_an_empty_archive(feedback: Feedback, tmp_path: Path) -> None:
    assert feedback.save_archive(tmp_path / "feedback.zip") == 0
    assert len(load(tmp_path / "feedback.zip").train) == 0


def test_a_database_on_a_full_disk_keeps_what_it_has(base: Database, feedback: Feedback, database_url: str) -> None:
    """SQLite can be told how many pages there are; a disk that is full says the same."""
    if not database_url.startswith("sqlite"):
        pytest.skip("how full PostgreSQL's disk is, is its own matter")
    feedback.keep(example(0), 7)
    with base.writing() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    big = encode(np.random.default_rng(0).integers(0, 256, (900, 900), np.uint8))
    fill = (example(seed, sent=big) for seed in range(1, 9))
    with pytest.raises(DatabaseUnavailable, match="full"):
        [feedback.keep(given, 3) for given in fill]
    assert feedback.page(10, 0)[0].label == 7
