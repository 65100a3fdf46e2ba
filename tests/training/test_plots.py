"""What the pictures of a report show."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.images import handwritten
from training import plots
from training.data import Split
from training.evaluate import Evaluation


def dark_share(path: Path) -> float:
    with Image.open(path) as image:
        return float((np.asarray(image.convert("L")) < 64).mean())


def evaluation(errors: int) -> tuple[Evaluation, Split]:
    random = np.random.default_rng(0)
    labels = np.arange(200).astype(np.uint8) % 10
    images = np.stack([handwritten(int(label), random) for label in labels])
    probabilities = np.full((200, 10), 0.02, np.float32)
    answers = labels.copy()
    answers[:errors] = (answers[:errors] + 1) % 10
    probabilities[np.arange(200), answers] = 0.82
    evaluation = Evaluation(answers.astype(np.int64), probabilities, labels, np.ones(200, np.bool_))
    return evaluation, Split(images, labels)


def test_every_error_is_drawn(tmp_path: Path) -> None:
    """The images are mostly black on a white page, so a page without them shows at once."""
    for errors in (1, 25, 60, 100):
        plots.errors(*evaluation(errors), tmp_path / "mistakes.png")
        assert dark_share(tmp_path / "mistakes.png") > 0.02 + 0.25 * min(errors, 60) / 60


def test_no_errors_at_all(tmp_path: Path) -> None:
    plots.errors(*evaluation(0), tmp_path / "mistakes.png")
    plots.confusion(evaluation(0)[0], tmp_path / "confusion.png")


def blue(path: Path) -> int:
    """Pixels of the bars of accuracy and of their dots."""
    with Image.open(path) as image:
        values = np.asarray(image.convert("RGB")).astype(int)
    return int((values[..., 2] - values[..., 0] > 40).sum())


def test_reliability_shows_the_accuracy(tmp_path: Path) -> None:
    """All have the same confidence, so there is one bar, as high as the accuracy."""
    plots.reliability(evaluation(0)[0], tmp_path / "correct.png")
    plots.reliability(evaluation(100)[0], tmp_path / "half.png")
    assert blue(tmp_path / "correct.png") > 1.8 * blue(tmp_path / "half.png") > 1000


def test_curves_with_and_without_validation(tmp_path: Path) -> None:
    history = [{"epoch": n, "loss": 1 / n, "accuracy": 1 - 0.2 / n} for n in range(1, 9)]
    plots.curves(history, tmp_path / "plain.png")
    plots.curves([row | {"val_loss": 0.5, "val_accuracy": 0.9} for row in history], tmp_path / "validated.png")
    assert (tmp_path / "plain.png").read_bytes() != (tmp_path / "validated.png").read_bytes()


def test_a_perfect_epoch_does_not_break_the_scale(tmp_path: Path) -> None:
    plots.curves([{"epoch": 1, "loss": 0.0, "accuracy": 1.0}], tmp_path / "curves.png")


def test_every_network_has_its_own_line(tmp_path: Path) -> None:
    history = [{"epoch": n, "loss": 1.0 if n < 9 else 0.2, "accuracy": 0.9} for n in range(1, 17)]
    plots.curves(history, tmp_path / "curves.png", ensemble_size=2)
    with Image.open(tmp_path / "curves.png") as image:
        left = np.asarray(image.convert("RGB"))[:, : image.width // 2].astype(int)
    red = (left[..., 0] > 180) & (left[..., 1] < 80)
    across = np.flatnonzero(red.sum(axis=1) > 0.7 * left.shape[1])
    assert np.ptp(across) > 0.5 * left.shape[0]  # one at the top, one at the bottom


def test_samples_are_nine_digits_with_labels(tmp_path: Path) -> None:
    plots.samples(evaluation(0)[1], tmp_path / "samples.png")
    assert dark_share(tmp_path / "samples.png") > 0.4
