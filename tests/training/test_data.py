"""MNIST from a folder: checked, or refused with the reason."""

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from training import data
from training.data import Digits
from training.errors import TrainingError

LABELS, IMAGES = "train-labels-idx1-ubyte.gz", "train-images-idx3-ubyte.gz"


def test_the_real_mnist(mnist: Digits) -> None:
    assert mnist.train.images.shape == (60_000, 28, 28)
    assert mnist.test.images.shape == (10_000, 28, 28)
    assert mnist.train.images.dtype == mnist.train.labels.dtype == np.uint8
    assert mnist.train.labels[:9].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1]
    learned, held_out = mnist.held_out()
    assert (len(learned), len(held_out)) == (50_000, 10_000)
    assert np.array_equal(held_out.images[-1], mnist.train.images[-1])


def test_other_data_in_this_format(small_data: Path) -> None:
    digits = data.load(small_data, verify=False)
    assert (len(digits.train), len(digits.test)) == (600, 100)
    learned, held_out = digits.held_out()
    assert (len(learned), len(held_out)) == (500, 100)
    with pytest.raises(TrainingError, match="--no-verify"):
        data.load(small_data)


def test_the_folder_may_come_from_the_environment(small_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_DATA", str(small_data))
    assert len(data.load(verify=False).train) == 600


def damaged(small_data: Path, tmp_path: Path, name: str, content: bytes | None) -> Path:
    folder = tmp_path / "data"
    shutil.copytree(small_data, folder)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (LABELS, None, "--data or DIGITS_DATA"),
        (LABELS, b"", "IDX"),
        (LABELS, b"hello", "gzip"),
        (LABELS, gzip.compress(b"hello"), "IDX"),
        (LABELS, gzip.compress(b"\0\0\x08\x03\0\0"), "cut short"),
        (LABELS, gzip.compress(b"\0\0\x08\x01\0\0\0\x09" + bytes(8)), "cut short"),
        (LABELS, gzip.compress(b"\0\0\x08\x01" + (3).to_bytes(4, "big") + bytes(3)), "do not go with"),
        (LABELS, gzip.compress(b"\0\0\x08\x01" + (600).to_bytes(4, "big") + bytes(599) + b"\x0a"), "0 to 9"),
        (LABELS, gzip.compress(b"\0\0\x08\x01" + (600).to_bytes(4, "big") + bytes(600))[:-12], "gzip"),
    ],
)
def test_damaged_files(small_data: Path, tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        data.load(damaged(small_data, tmp_path, name, content), verify=False)
