"""Pictures in folders: measured through the service, tabled, and drawn on a sheet."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.samples import draw
from tests.training.test_command_line import run
from training.errors import TrainingError
from training.look import seen, sheet
from training.pictures import Answer, Picture, find, tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources of digits, one that is blank among them, and one picture that shows none."""
    folder = tmp_path_factory.mktemp("pictures")
    for source, digits in (("big", (0, 3, 7)), ("small", (3,))):
        (folder / "digits" / source).mkdir(parents=True)
        for digit in digits:
            draw(digit, (200, 200)).save(folder / "digits" / source / f"{digit}_1.png")
    Image.new("L", (50, 50), 255).save(folder / "digits/small/4_1.png")
    (folder / "ood/shapes").mkdir(parents=True)
    draw(8, (60, 60), "white", "black", 0.3).save(folder / "ood/shapes/blob_1.jpg")
    (folder / "INDEX.json").write_text(json.dumps([{"group": "digits", "source": "big", "kind": "canvas"}]))
    return folder


def test_labels_are_the_beginning_of_the_name(folder: Path) -> None:
    labels = {picture.path.name: picture.label for picture in find(folder)}
    assert labels == {"0_1.png": 0, "3_1.png": 3, "7_1.png": 7, "4_1.png": 4, "blob_1.jpg": None}
    with pytest.raises(TrainingError, match="no pictures"):
        find(folder / "nowhere")


def test_tables_average_over_sources(folder: Path) -> None:
    answers = {picture.path: Answer(picture.label, 0.9) for picture in find(folder)}
    answers[folder / "digits/small/4_1.png"] = Answer(None, 0.0, "blank")
    answers[folder / "digits/big/7_1.png"] = Answer(1, 0.6)
    answers[folder / "ood/shapes/blob_1.jpg"] = Answer(8, 0.5)
    lines = tables(folder, answers).splitlines()
    assert "| canvas | 1 | 3 | 2 | 0 | 66.7% |" in lines
    assert "| digits | 1 | 2 | 1 | 1 | 50.0% |" in lines  # the group, where the index names no kind
    assert "| ood | shapes | 1 | 0 | 0.50 |" in lines


def test_seen_is_what_the_service_reads(folder: Path) -> None:
    images = seen([Picture(folder / "digits/big/3_1.png", 3), Picture(folder / "digits/small/4_1.png", 4)])
    assert images.shape == (2, 28, 28)
    assert images[0].max() == 255
    assert not images[1].any()


def test_a_sheet_is_red_where_wrong(folder: Path, tmp_path: Path) -> None:
    pictures = [picture for picture in find(folder) if picture.label is not None]
    images = np.zeros((len(pictures), 28, 28), np.uint8)

    def red(answers: list[Answer]) -> int:
        sheet(pictures, images, answers, tmp_path / "sheet.png")
        with Image.open(tmp_path / "sheet.png") as image:
            values = np.asarray(image).astype(int)
        return int((values[..., 0] - values[..., 1] > 60).sum())

    right = [Answer(picture.label, 1.0) for picture in pictures]
    assert red(right) == 0
    assert red([Answer(9, 1.0), *right[1:]]) > 50


def test_both_commands(folder: Path, tmp_path: Path) -> None:
    models = str(ROOT / "models/digits")
    output = run(tmp_path, "evaluate", "1", "--models", models, "--pictures", folder)
    assert "| digits | small | 2 | 1 | 1 | 50.0% |" in output
    output = run(tmp_path, "look", folder, "--models", models, "--version", "1", "--output", "sheet.png")
    assert "6 of 6 pictures, read by version 1: sheet.png" in output
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width > 500
