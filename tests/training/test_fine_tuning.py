"""Training a version further, with corrections: the commands that the service calls."""

import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from app.registry import store
from app.registry.manifest import Manifest
from app.retraining.progress import Progress
from tests.support.training import main_here, run_here, write_archive
from training import candidate, data, feedback, recipes
from training.data import Digits
from training.evaluate import serving
from training.recipes import Dense, Flatten, Softmax

IMAGES = 100


@pytest.fixture(scope="module")
def digits(small_data: Path) -> Digits:
    return data.load(small_data, verify=False)


@pytest.fixture(scope="module")
def folder(small_data: Path, digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with version 1, which has not learned its validation images, and an archive of mirrored digits."""
    folder = tmp_path_factory.mktemp("fine-tuning")
    run_here(folder, "fit", "dense-512", "--epochs", "2", "--data", small_data, "--no-verify")
    mirrored = dataclasses.replace(digits.test, images=digits.test.images[:, :, ::-1])
    write_archive(folder / "feedback.zip", [(mirrored[:20], False), (mirrored[20:30], True)])
    return folder


def fine_tuning(small_data: Path, *more: str) -> list[str]:
    known = ["--data", str(small_data), "--no-verify", "--feedback", "feedback.zip"]
    return [
        "fit",
        "--start",
        "models/digits/1",
        *known,
        "--images",
        str(IMAGES),
        "--feedback-share",
        "0.3",
        "--epochs",
        "2",
        *more,
    ]


def call(folder: Path, arguments: list[str]) -> tuple[str, str]:
    """Run a command that must succeed; its standard output and standard error."""
    output, errors = io.StringIO(), io.StringIO()
    assert main_here(folder, arguments, output, errors) == 0, errors.getvalue()
    return output.getvalue(), errors.getvalue()


def changed(folder: Path, manifest: Manifest) -> None:
    (folder / store.MANIFEST).write_text(manifest.to_json())


def test_a_first_stage_is_fine_tuned_with_its_network(digits: Digits, tmp_path: Path) -> None:
    layers = (Flatten(), Dense(10), Softmax())
    recipe = dataclasses.replace(recipes.find("dense-512"), epochs=1, first_stage=layers, cascade_threshold=0.9)
    known: dict[str, Any] = {"final": False, "seed": 0, "precision": "float32", "report": lambda progress: None}
    parent = store.verify(candidate.produce(recipe, digits, tmp_path / "parent", **known))
    assert parent.manifest.cascade_threshold == 0.9
    assert recipes.from_dict(parent.manifest.recipe or {}) == recipe

    def first_stage(path: Path) -> list[NDArray[np.float32]]:
        weights: list[NDArray[np.float32]] = keras.saving.load_model(path / store.FIRST_STAGE).get_weights()
        return weights

    on = dataclasses.replace(recipe, optimiser=recipes.Optimiser("SGD", learning_rate=1e-5))
    made = candidate.produce(on, digits, tmp_path / "on", start=parent, **known)
    moved = max(np.abs(a - b).max() for a, b in zip(first_stage(made), first_stage(parent.path), strict=True))
    assert 0 < moved < 1e-4  # it began where its parent's had ended


def test_a_staged_candidate_and_its_manifest(folder: Path, small_data: Path, digits: Digits) -> None:
    output, errors = call(folder, fine_tuning(small_data, "--stage", "--progress", "json"))
    steps = [Progress.from_json(line) for line in output.splitlines()]
    assert [step.epoch for step in steps if step.epoch_ended] == [1, 2]
    assert steps[-1].batches == 2  # 100 of MNIST and 43 corrections, in batches of 128
    made = folder / errors.splitlines()[-1]
    manifest = store.verify(made).manifest
    assert manifest.version == 0
    assert manifest.parent == 1
    assert manifest.epochs == 2
    assert manifest.recipe is not None
    assert manifest.recipe["optimiser"]["learning_rate"] == recipes.FINE_TUNING_RATE
    learned, validation = digits.held_out()
    given = feedback.load(folder / "feedback.zip")
    mixed = feedback.mix(learned, given.train, share=0.3, images=IMAGES, seed=0)
    assert manifest.data == {
        "train": mixed.digest(),
        "validation": validation.digest(),
        "feedback": given.held_out.digest(),
    }
    assert {name: metrics.images for name, metrics in manifest.metrics.items()} == {"validation": 100, "feedback": 10}
    with serving(made) as service:
        assert service.read(given.held_out).metrics() == manifest.metrics["feedback"]
    assert store.numbers(folder / "models/digits") == [1]

    again, errors = call(folder, fine_tuning(small_data, "--stage", "--progress", "json"))
    assert again == ""
    assert store.verify(folder / errors.splitlines()[-1]).manifest == manifest


def test_what_the_parent_learned_is_no_validation(folder: Path, small_data: Path, tmp_path: Path) -> None:
    for name in ("models", "feedback.zip"):
        (tmp_path / name).symlink_to(folder / name)
    own = tmp_path / "own"
    shutil.copytree(folder / "models/digits/1", own / "1")
    manifest = store.read_manifest(own / "1")
    changed(own / "1", dataclasses.replace(manifest, data={"train": "all", "test": "0"}))
    arguments = [*fine_tuning(small_data, "--models", "own"), "--start", "own/1"]
    output, _ = call(tmp_path, arguments)
    assert "published as version 2" in output
    assert "validation:" not in output
    assert "own/1 has learned the images held out" in output
    made = store.read_manifest(own / "2")
    assert (made.parent, set(made.data), set(made.metrics)) == (1, {"train", "feedback"}, {"feedback"})
    assert "val_loss" in (own / "2/report/history.csv").read_text()  # the progress shows it
    # And so on through the generations.
    compared = json.loads(call(tmp_path, ["compare", "own/2", "models/digits/1", *known_data(small_data)])[0])
    assert (compared["mnist"]["learned_by_candidate"], compared["mnist"]["learned_by_current"]) == (True, False)
    assert compared["feedback"] is None


def known_data(small_data: Path) -> list[str]:
    return ["--data", str(small_data), "--no-verify"]


def test_comparing_counts_what_only_one_reads(folder: Path, small_data: Path, digits: Digits, tmp_path: Path) -> None:
    output, _ = call(folder, fine_tuning(small_data, "--stage"))
    candidate, current = folder / output.splitlines()[-1], folder / "models/digits/1"
    arguments = ["compare", str(candidate), str(current), "--feedback", "feedback.zip", *known_data(small_data)]
    output, _ = call(folder, arguments)
    assert len(output.splitlines()) == 1
    compared = json.loads(output)
    validation = digits.held_out()[1]
    held_out = feedback.load(folder / "feedback.zip").held_out
    splits = {"mnist": validation, "feedback": held_out}
    read = []
    for version in (candidate, current):
        with serving(version) as service:
            read.append({name: service.read(images) for name, images in splits.items()})
    for name, images in splits.items():
        one, other = (found[name] for found in read)
        correct = [
            [evaluation.digits[i] == label for i, label in enumerate(images.labels)] for evaluation in (one, other)
        ]
        expected: dict[str, Any] = {
            "images": len(images),
            "candidate": sum(correct[0]),
            "current": sum(correct[1]),
            "only_candidate": sum(a and not b for a, b in zip(*correct, strict=True)),
            "only_current": sum(b and not a for a, b in zip(*correct, strict=True)),
            "candidate_nll": one.metrics().nll,
            "current_nll": other.metrics().nll,
        }
        if name == "mnist":
            expected |= {"learned_by_candidate": False, "learned_by_current": False}
        assert compared[name] == expected


def test_from_scratch_with_feedback(folder: Path, small_data: Path, digits: Digits) -> None:
    arguments = ["fit", "hello-dense", "--epochs", "1", "--feedback", "feedback.zip", "--feedback-share", "0.5"]
    output, _ = call(folder, [*arguments, "--stage", *known_data(small_data)])
    manifest = store.read_manifest(folder / output.splitlines()[-1])
    given = feedback.load(folder / "feedback.zip")
    mixed = feedback.mix(digits.held_out()[0], given.train, share=0.5, images=None, seed=0)
    assert len(mixed) == 1000
    assert manifest.data["train"] == mixed.digest()
    assert manifest.parent is None
    assert set(manifest.metrics) == {"validation", "feedback"}


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"recipe": None}, "made elsewhere.*train from scratch"),
        ({"recipe": {"name": "old", "layers": [{"kind": "Capsule"}]}}, "Capsule.*train from scratch"),
        ({"recipe": recipes.find("two-conv").as_dict()}, "weights"),
        ({"version": 0}, "no published version"),
    ],
)
def test_versions_that_cannot_be_trained_further(
    folder: Path, small_data: Path, tmp_path: Path, manifest: dict[str, Any], words: str
) -> None:
    version = tmp_path / "staged"
    shutil.copytree(folder / "models/digits/1", version)
    changed(version, dataclasses.replace(store.read_manifest(version), **manifest))
    output = run_here(tmp_path, "fit", "--start", "staged", *known_data(small_data), "--epochs", "1", status=2)
    assert np.all([word in output.splitlines()[-1] for word in words.split(".*")])


def test_mistakes_get_one_clear_line(folder: Path, small_data: Path) -> None:
    for arguments, word in (
        (["fit", "default", "--start", "models/digits/1"], "leave 'default' out"),
        (["fit", "--start", "models/digits/9"], "models/digits/9"),
        (["fit", "--feedback", "nowhere.zip"], "nowhere.zip"),
        (["fit", "--feedback-share", "1"], "between 0 and 1"),
        (["fit", "--feedback-share", "nan"], "between 0 and 1"),
        (["fit", "--images", "0"], "at least 1"),
        (["compare", "models/digits/1", "models/digits/9"], "models/digits/9"),
    ):
        given = known_data(small_data) if arguments[0] == "compare" else []
        assert word in run_here(folder, *arguments, *given, status=2).splitlines()[-1], arguments
