"""Figures of what the service replied, and the service that is asked."""

import dataclasses
import json
import shutil
import socket
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from app.registry import store
from app.registry.manifest import Manifest
from tests.support.images import handwritten, write_idx
from tests.support.training import rows, run_here
from tests.support.versions import SHIPPED
from training import candidate
from training.data import Split
from training.evaluate import Evaluation, Service, listens, png
from training.image_folder import Answer


def evaluation(labels: list[int], digits: list[int], confidence: list[float]) -> Evaluation:
    """Answers with what is left of the probability in equal parts for the other digits; -1 is not read."""
    probabilities = np.repeat((1 - np.array(confidence, np.float32)[:, None]) / 9, 10, axis=1)
    read = np.array(digits) >= 0
    probabilities[read, np.array(digits)[read]] = np.array(confidence, np.float32)[read]
    probabilities[~read] = 0.1
    return Evaluation(np.array(digits), probabilities, np.array(labels, np.uint8), np.array(confidence) > 0.5)


def test_figures_by_hand() -> None:
    metrics = evaluation([3, 3, 3, 8, 8], [3, 3, 8, 8, -1], [1.0, 0.8, 0.4, 0.85, 0.1]).metrics()
    assert (metrics.images, metrics.correct, metrics.accuracy) == (5, 3, 0.6)
    assert metrics.accepted == 0.6
    assert metrics.precision == [None, None, None, 1.0, None, None, None, None, 0.5, None]
    assert metrics.recall == [None, None, None, 0.666667, None, None, None, None, 0.5, None]
    confusion = np.array(metrics.confusion)
    assert (confusion[3, 3], confusion[3, 8], confusion[8, 8], confusion.sum()) == (2, 1, 1, 4)

    assert metrics.reliability is not None
    by_tenth = {tenth: row for tenth, row in enumerate(metrics.reliability) if row[0]}
    assert by_tenth == {1: [1, 0.1, 0.0], 4: [1, 0.4, 0.0], 8: [2, 0.825, 1.0], 9: [1, 1.0, 1.0]}
    assert metrics.reliability[0] == [0, None, None]
    assert metrics.ece == pytest.approx((0.1 + 0.4 + 2 * 0.175 + 0) / 5)

    def brier(true: float, other: float, rest: float) -> float:
        return (1 - true) ** 2 + other**2 + 8 * rest**2

    unread = 0.9**2 + 9 * 0.1**2
    expected = [0, brier(0.8, 0.2 / 9, 0.2 / 9), brier(0.6 / 9, 0.4, 0.6 / 9), brier(0.85, 0.15 / 9, 0.15 / 9), unread]
    assert metrics.brier == pytest.approx(np.mean(expected), abs=2e-6)


def test_figures_with_scikit_learn() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 400)
    digits = np.where(random.random(400) < 0.7, labels, random.integers(0, 10, 400))
    metrics = evaluation(labels.tolist(), digits.tolist(), random.uniform(0.2, 1, 400).tolist()).metrics()
    assert metrics.confusion == confusion_matrix(labels, digits).tolist()
    assert metrics.precision == pytest.approx(precision_score(labels, digits, average=None), abs=1e-6)
    assert metrics.recall == pytest.approx(recall_score(labels, digits, average=None), abs=1e-6)


def test_who_is_as_right_as_sure_is_calibrated() -> None:
    sure = evaluation([1] * 10, [1] * 8 + [2] * 2, [0.8] * 10).metrics()
    assert sure.ece == pytest.approx(0, abs=1e-6)
    too_sure = evaluation([1] * 10, [1] * 8 + [2] * 2, [0.99] * 10).metrics()
    assert too_sure.ece == pytest.approx(0.19, abs=1e-6)


def test_a_card_keeps_the_figures() -> None:
    metrics = evaluation([3, 8], [3, -1], [0.9, 0.1]).metrics()
    manifest = Manifest(created="", parameters=1, files={}, libraries={}, metrics={"test": metrics})
    assert Manifest.from_json(manifest.to_json()).metrics["test"] == metrics


def replying(reply: object, status: int = 200) -> Service:
    transport = httpx.MockTransport(lambda request: httpx.Response(status, json=reply))
    return Service(httpx.Client(transport=transport, base_url="http://digits"))


def test_rejections() -> None:
    """And one of an image that cannot be read."""
    sure, even = [0, 1] + [0] * 8, [0.1] * 10
    entries = [
        {"digit": 1, "confidence": 1.0, "probabilities": sure, "accepted": True, "reason": None},
        {"digit": 0, "confidence": 0.1, "probabilities": even, "accepted": False, "reason": "blank"},
        {"error": {"title": "The image is damaged"}},
    ]
    images = Split(np.zeros((3, 28, 28), np.uint8), np.ones(3, np.uint8))
    found = replying({"predictions": entries}).read(images)
    assert found.digits.tolist() == [1, 0, -1]
    assert found.accepted.tolist() == [True, False, False]
    assert found.metrics().accepted == round(1 / 3, 6)

    answered = {"digit": 4, "confidence": 0.5, "accepted": True, "reason": None}
    assert not replying(answered).answer(b"").rejected
    unsure = replying(answered | {"accepted": False, "reason": "several_digits"}).answer(b"")
    assert unsure == Answer(4, 0.5, "several digits")
    assert unsure.rejected
    refused = replying({"detail": "no image"}, 415).answer(b"")
    assert refused == Answer(None, 0.0, "no image")
    assert refused.rejected


def test_a_grey_image_is_sent_as_it_is() -> None:
    image = handwritten(4, np.random.default_rng(0))
    sent: list[bytes] = []

    def reply(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        return httpx.Response(200, json={"predictions": [{"digit": 4, "probabilities": [0.1] * 10}]})

    client = httpx.Client(transport=httpx.MockTransport(reply), base_url="http://digits")
    Service(client).read(Split(image[None], np.array([4], np.uint8)))
    assert png(image) in sent[0]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Split]:
    """A copy of the shipped version without its figures, measured anew on ten drawn digits."""
    folder = shutil.copytree(SHIPPED / "1", tmp_path_factory.mktemp("models") / "1")
    manifest = store.read_manifest(folder)
    (folder / store.MANIFEST).write_text(dataclasses.replace(manifest, metrics={}).to_json())
    random = np.random.default_rng(0)
    split = Split(np.stack([handwritten(digit, random) for digit in range(10)]), np.arange(10, dtype=np.uint8))
    candidate.measure(folder, {"test": split})
    return folder, split


def test_a_candidate_has_all_figures_and_their_pictures(measured: tuple[Path, Split]) -> None:
    folder, _ = measured
    told = json.loads((folder / store.MANIFEST).read_text())["metrics"]["test"]
    assert told["images"] == 10
    assert None not in told.values()
    for name in ("confusion.png", "reliability.png", "mistakes.png"):
        with Image.open(folder / "report" / name) as image:
            assert min(image.size) > 100


def test_the_command_says_how_sure_and_how_well_corrupted(tmp_path: Path) -> None:
    data = write_idx(tmp_path / "data", 20, 20)
    arguments = ("--models", SHIPPED, "--data", data, "--no-verify")
    output = run_here(tmp_path, "evaluate", "1", *arguments, "--corruptions", "--scenes")
    assert "version 1 on test: " in output
    assert ", ece 0." in output
    told = store.read_manifest(SHIPPED / "1").metrics["test"]
    assert f"{told.correct:,} correct, nll {told.nll:.4f}, on other images" in output
    corrupted, on_paper = "\n".join(rows(output)).split("| scene | ")
    lines = [line for line in rows(corrupted) if line.startswith("| ")]
    assert len(lines) == 2 + 1 + 15 + 2
    assert lines[2].startswith("| none | ")
    assert lines[-1].startswith("| worst: ")
    assert [line.split(" | ")[0] for line in on_paper.splitlines()[2:4]] == ["| clean", "| small"]
    assert on_paper.splitlines()[-1].startswith("| **mean** | ")


def test_a_server_that_does_not_listen_yet_leaves_nothing_open(tmp_path: Path) -> None:
    address = tmp_path / "socket"
    assert not listens(address)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(address))
        assert address.exists()
        assert not listens(address)
        server.listen()
        assert listens(address)
