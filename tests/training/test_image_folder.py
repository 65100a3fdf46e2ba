"""Pictures in folders: measured through the service, tabled, and drawn on a sheet."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.images import draw, handwritten
from tests.support.training import rows, run_here
from tests.support.versions import SHIPPED
from training.contact_sheet import seen, sheet
from training.errors import TrainingError
from training.image_folder import Answer, Picture, auroc, find, tables


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
    answers[folder / "digits/big/3_1.png"] = Answer(3, 0.7, "unsure")
    answers[folder / "ood/shapes/blob_1.jpg"] = Answer(8, 0.5)
    lines = rows(tables(folder, answers))
    assert "| canvas | 1 | 3 | 2 | 66.7% | 66.7% | |" in lines  # correct but rejected, and an error but accepted
    assert "| digits | 1 | 2 | 1 | 50.0% | 50.0% | |" in lines  # the group, where the index names no kind
    assert lines.index("| digits | small | 2 | 1 | 50.0% | 50.0% |") < lines.index(
        "| canvas | big | 3 | 2 | 66.7% | 33.3% |"
    )
    assert (
        "| ood | shapes | 1 | 0.0% | | 0.50 | 0.750 | |" in lines
    )  # 1 from the three of one source, 0.5 from the other two


def test_pictures_without_a_digit_by_kind(tmp_path: Path) -> None:
    """Means over sources of a kind, and over all of a group; a kind that is all of its group has no line of its own."""
    sources = {"one": "icons", "two": "icons", "three": "charts"}
    index = [{"group": "ood", "source": source, "kind": kind} for source, kind in sources.items()]
    (tmp_path / "INDEX.json").write_text(json.dumps(index))

    def pictures(source: str, *answers: Answer) -> dict[Path, Answer]:
        return {tmp_path / source / f"{number}.png": answer for number, answer in enumerate(answers)}

    given = pictures("digits/a", Answer(1, 0.9), Answer(2, 0.5))
    given |= pictures("ood/one", Answer(1, 0.7), Answer(1, 0.7), Answer(1, 0.7), Answer(1, 0.3, "unsure"))
    given |= pictures("ood/two", Answer(None, 0.0, "no image"))
    given |= pictures("ood/three", Answer(1, 0.95))
    lines = rows(tables(tmp_path, given, {"blank": [Answer(0, 0.1, "blank")]}, np.array([0.96, 0.2])))
    assert "| ood | one | 4 | 25.0% | 0.0% | 0.60 | 0.625 | 0.500 |" in lines
    assert "| ood | icons | 2 | 5 | 62.5% | 50.0% | 0.30 | 0.812 | 0.750 |" in lines
    assert "| ood | charts | 1 | 1 | 0.0% | 0.0% | 0.95 | 0.000 | 0.500 |" in lines
    assert "| ood | all | 3 | 6 | 41.7% | 33.3% | 0.52 | 0.542 | 0.667 |" in lines
    assert "| blank | synthetic | 1 | 100.0% | 100.0% | 0.10 | 1.000 | 1.000 |" in lines
    assert "| blank | all | 1 | 1 | 100.0% | 100.0% | 0.10 | 1.000 | 1.000 |" in lines
    assert not [line for line in lines if line.startswith("| blank | synthetic | 1 | 1 |")]


def test_rejected_by_a_threshold_that_is_the_same_for_all_versions(tmp_path: Path) -> None:
    """The one that accepts 99.5 % of MNIST's digits; what can be seen on a picture counts whatever the confidence."""
    mnist = np.concatenate([np.linspace(0.1, 0.5, 4), np.full(996, 0.8)])
    one, two = tmp_path / "digits/a/1.png", tmp_path / "digits/a/2.png"
    digits = {one: Answer(1, 0.8), two: Answer(2, 0.79)}
    others = [Answer(1, 0.8), Answer(1, 0.6), Answer(1, 0.8, "unsure"), Answer(1, 0.9, "several digits")]
    lines = rows(tables(tmp_path, digits, {"noise": others}, mnist))
    assert "| digits | 1 | 2 | 2 | 100.0% | 100.0% | 50.0% |" in lines
    assert [line for line in lines if line.startswith("| noise | synthetic | 4 | 50.0% | 50.0% | 0.78 | ")]
    # Without MNIST's there is no such threshold.
    assert "| digits | 1 | 2 | 2 | 100.0% | 100.0% | |" in rows(tables(tmp_path, digits))


def test_area_under_the_curve_counts_pairs() -> None:
    assert auroc([0.9, 0.8], [0.1, 0.2, 0.3]) == 1
    assert auroc([0.1, 0.2], [0.9]) == 0
    assert auroc([0.5, 0.5], [0.5]) == 0.5
    random = np.random.default_rng(0)
    positives, negatives = random.integers(0, 6, 70) / 5, random.integers(0, 5, 40) / 5
    pairs = np.sign(positives[:, None] - negatives) / 2 + 0.5
    assert auroc(positives, negatives) == pytest.approx(pairs.mean())


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

    right = [Answer(picture.label, 1.0, "unsure") for picture in pictures]
    assert red(right) == 0
    assert red([Answer(9, 1.0), *right[1:]]) > 50


def test_both_commands(folder: Path, tmp_path: Path) -> None:
    models = str(SHIPPED)
    output = "\n".join(rows(run_here(tmp_path, "evaluate", "1", "--models", models, "--pictures", folder)))
    assert "| digits | small | 2 | 1 | 50.0% | 50.0% |" in output
    assert "| blank | all | 1 | 200 | " in output
    output = run_here(tmp_path, "look", folder, "--models", models, "--version", "1", "--output", "sheet.png")
    assert "6 of 6 pictures, read by version 1: sheet.png" in output
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width > 500


def test_odd_files_are_looked_at_all_the_same(tmp_path: Path) -> None:
    """A name that is no UTF-8 and has two lines, a picture that is too large, and one that says no label."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    small = handwritten(7, np.random.default_rng(0))
    Image.fromarray(small).save(os.fsencode(folder) + b"/9_\xff\n.png")
    Image.fromarray(small).save(folder / "unlabelled.png")
    Image.new("1", (6_000, 6_000)).save(folder / "0_large.png")
    arguments = ["look", folder, "--models", SHIPPED, "--output", "sheet.png", "--wrong"]
    assert "2 of 3 pictures" in run_here(tmp_path, *arguments)
