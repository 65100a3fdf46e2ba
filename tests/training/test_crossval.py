"""Cross-validation, with a fresh network for every fold."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.training import run_here
from training import data, recipes
from training.crossval import crossval, summary
from training.data import Digits, Split


@pytest.fixture(scope="module")
def digits(small_data: Path) -> Digits:
    return data.load(small_data, verify=False)


SHORT = dataclasses.replace(recipes.find("dense-512"), epochs=2, batch_size=32)


def test_every_fold_begins_with_a_network_of_its_own(digits: Digits, tmp_path: Path) -> None:
    """On labels without any meaning nobody can do better than chance, unless the fold was learned before."""
    random = np.random.default_rng(99)
    noise = Split(digits.train.images[:80], random.integers(0, 10, 80).astype(np.uint8))
    recipe = dataclasses.replace(SHORT, epochs=6, batch_size=4)
    honest = list(crossval(recipe, noise, 2, tmp_path / "honest", seed=0))
    leaking = list(crossval(recipe, noise, 2, tmp_path / "leaking", seed=0, reuse_network=True))
    assert [fold.number for fold in honest] == [1, 2]
    assert max(fold.accuracy for fold in honest) < 0.25
    assert leaking[0].accuracy == honest[0].accuracy
    assert leaking[1].history[0]["val_accuracy"] > 0.4
    assert "n = 2" in summary(honest)


def test_the_command(small_data: Path, tmp_path: Path) -> None:
    arguments = ["crossval", "dense-512", "--folds", "2", "--epochs", "1", "--data", str(small_data), "--no-verify"]
    output = run_here(tmp_path, *arguments)
    assert [line.split(":")[0] for line in output.splitlines() if line.startswith("fold ")] == [
        "fold 1",
        "fold 2",
    ]
    assert "dense-512: mean" in output
    for picture in ("folds.png", "boxes.png"):
        with Image.open(tmp_path / "runs/crossval-dense-512" / picture) as image:
            assert min(image.size) > 200


def test_mistakes(small_data: Path, tmp_path: Path) -> None:
    for arguments, word in (
        (["crossval", "nonesuch"], "dense-512"),
        (["crossval", "dense-512", "--folds", "0"], "at least 2"),
        (["crossval", "dense-512", "--folds", "100000"], "fewer folds"),
        (["crossval", "dense-512", "--run", "/proc/nowhere"], "/proc"),
        (["describe", "nonesuch"], "dense-512"),
    ):
        more = [] if arguments[0] == "describe" else ["--data", str(small_data), "--no-verify"]
        output = run_here(tmp_path, *arguments, *more, status=2)
        assert word in output.splitlines()[-1], arguments
