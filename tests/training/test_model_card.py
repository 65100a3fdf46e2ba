"""The tables of the model card: confidence intervals, the page that is written, and what is measured."""

import json
import shutil
from pathlib import Path

import pytest

from app.registry import store
from tests.support.images import IMAGES, draw
from tests.support.versions import SHIPPED
from training import data
from training.errors import TrainingError
from training.model_card import BEGIN, END, measure, wilson, write
from training.synthetic import ood_evaluation


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.27753),
        (5, 10, 0.23659, 0.76341),
        (10, 10, 0.72247, 1.0),
        (1, 1, 0.20655, 1.0),
        (9970, 10000, 0.99572, 0.99790),
    ],
)
def test_wilsons_interval(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=1e-5)


def test_tables_go_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nText\n")
    for _ in range(2):
        write(page, "| a |")
        assert page.read_text() == f"# Title\n\n{BEGIN}\n\n| a |\n\n{END}\n\nText\n"


@pytest.mark.parametrize("text", ["", BEGIN, f"{END} {BEGIN}"])
def test_without_the_markers_nothing_is_written(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(TrainingError, match="are not there"):
        write(page, "| a |")
    assert page.read_text() == text


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two digits of one source, and a letter that is none."""
    (tmp_path / "digits/ours").mkdir(parents=True)
    shutil.copy(IMAGES / "seven.png", tmp_path / "digits/ours/7_1.png")
    shutil.copy(IMAGES / "two.gif", tmp_path / "digits/ours/3_1.gif")  # a label that is wrong
    (tmp_path / "multi/ours").mkdir(parents=True)
    shutil.copy(IMAGES / "several.png", tmp_path / "multi/ours/42_1.png")
    (tmp_path / "ood/shapes_ours").mkdir(parents=True)
    draw(8, (60, 60), "white", "black", 0.3).save(tmp_path / "ood/shapes_ours/blob_1.jpg")
    (tmp_path / "INDEX.json").write_text(json.dumps([{"group": "digits", "source": "ours", "kind": "canvas"}]))
    return tmp_path


def test_what_is_measured(small_data: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = ood_evaluation.make
    monkeypatch.setattr(ood_evaluation, "make", lambda group: make(group, 5))
    few = data.load(small_data, verify=False).test[:4]
    lines = measure(store.verify(SHIPPED / "1"), few, pictures).splitlines()
    lines = [" ".join(line.split()) for line in lines]  # without the columns' padding
    assert lines[0].startswith("Version 1, measured through the service on ")
    low, high = wilson(1, 2)
    assert f"| canvas | 1 | 2 | 1 | 50.0 % | {100 * low:.1f} to {100 * high:.1f} % | 50.0 % | 100.0 % |" in lines
    assert any(
        line.startswith("| several digits | 1 | 1 | 1 | 100.0 % | 20.7 to 100.0 % | 100.0 % |") for line in lines
    )
    assert any(line.startswith("| shapes | 1 | 1 | ") for line in lines)
    assert any(line.startswith("| blank, synthetic | 1 | 5 | 5 | 100.0 % |") for line in lines)
    assert sum(line.startswith("| zigzag | ") for line in lines) == 1
    assert sum(line.startswith("| in a box | ") for line in lines) == 1
    assert [line for line in lines if line.startswith("#")] == [
        "### MNIST test images",
        "### Pictures of a digit",
        "### Pictures without a single digit",
        "### Corrupted test images",
        "### Synthetic photos",
    ]
