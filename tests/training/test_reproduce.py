"""The tutorials' networks: trained by name, written down, and served like any other version."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.inference.engine import Graph
from app.inference.ensemble import load_cascade
from app.registry import store
from tests.support.paths import ROOT
from tests.support.training import rows, run_here
from training import candidate, data, reproduce
from training.articles import ARTICLES
from training.fit import fit
from training.recipes import find


def test_the_command(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARTICLES, "hello-dense", dataclasses.replace(ARTICLES["hello-dense"], seeds=2))
    arguments = ["reproduce", "hello-dense", "--data", small_data, "--no-verify", "--stop-after", "1"]
    output = run_here(tmp_path, *arguments, "--publish")
    assert "epoch 1/1" in output
    page = "\n".join(rows((tmp_path / "docs/reproductions.md").read_text()))
    assert "96 % of the training images" in page
    assert "| 1 of 5 epochs | 2 |" in page
    assert "reproduce hello-dense --stop-after 1`" in page
    for picture in re.findall(r"\]\((\S+\.png)\)", page):
        with Image.open(tmp_path / "docs" / picture) as image:
            assert min(image.size) > 100
    found = json.loads((tmp_path / "docs/reproductions/hello-dense.json").read_text())
    (variant,) = found["variants"]
    for seed, outcome in enumerate(variant["outcomes"]):
        assert (outcome["seed"], len(outcome["test_accuracies"]), len(outcome["first_ten"])) == (seed, 1, 10)
        assert (outcome["test"]["images"], outcome["training"]["images"]) == (100, 600)
    assert len({outcome["test"]["nll"] for outcome in variant["outcomes"]}) == 2
    manifest = store.read_manifest(tmp_path / "models/digits/1")
    assert manifest.metrics["test"].nll == variant["outcomes"][0]["test"]["nll"]
    assert manifest.epochs == 1
    # What is done is not done again, and more epochs go on from there.
    monkeypatch.setitem(ARTICLES, "hello-dense", dataclasses.replace(ARTICLES["hello-dense"], seeds=1))
    further = run_here(tmp_path, *arguments[:-1], "2")
    assert "epoch 2/2" in further
    assert "epoch 1/" not in further
    assert "| 2 of 5 epochs" in (tmp_path / "docs/reproductions.md").read_text()


def test_cross_validation_stands_on_the_page(small_data: Path, tmp_path: Path) -> None:
    article = ARTICLES["dense-512"]
    short = dataclasses.replace(article.variants[0], recipe=dataclasses.replace(find("dense-512"), epochs=1))
    article = dataclasses.replace(article, variants=(short,), seeds=1, folds=2)
    reproduce.reproduce(
        article,
        data.load(small_data, verify=False),
        tmp_path / "runs",
        tmp_path,
        "the command",
        precision="float32",
        stop_after=None,
        report=lambda progress: None,
        say=lambda line: None,
    )
    page = "\n".join(rows(reproduce.write_page(tmp_path).read_text()))
    assert "| a fresh network a fold |" in page
    assert "| **leaking:** one network through all folds |" in page
    for picture in ("folds-honest", "folds-leaking", "boxes"):
        with Image.open(tmp_path / f"reproductions/dense-512-{picture}.png") as image:
            assert min(image.size) > 100


def test_every_articles_network_serves(small_data: Path, tmp_path: Path) -> None:
    """With the answers of Keras."""
    digits = data.load(small_data, verify=False)
    images = digits.test.images[:20]
    for name in ARTICLES:
        recipe = find(name).with_epochs(1)
        trained = fit(recipe, digits.train[: recipe.batch_size], None, tmp_path / name, seed=0)
        folder = candidate.assemble(trained, recipe, tmp_path / name, seed=0, precision="float32", data={})
        answers = load_cascade(Graph(store.verify(folder)), threads=1).predict(images)
        by_keras = np.asarray(trained.network(images[..., None], training=False))
        np.testing.assert_allclose(answers, by_keras, atol=1e-4, err_msg=name)


def test_the_page_is_what_its_figures_say(tmp_path: Path) -> None:
    """The page that is kept was written by the command."""
    kept = ROOT / "docs"
    (tmp_path / "reproductions").symlink_to(kept / "reproductions")
    assert reproduce.write_page(tmp_path).read_text() == (kept / "reproductions.md").read_text()
    for picture in re.findall(r"\]\((\S+\.png)\)", (kept / "reproductions.md").read_text()):
        assert (kept / picture).exists()


def test_the_page_says_when_one_network_reached_its_claim() -> None:
    accuracies = [0.9912, 0.9921, 0.9905]
    assert "99.21%, 99.05%. It reached 99.2% after epoch 2." in reproduce._by_epoch(accuracies, 0.992)
    assert "after none of them" in reproduce._by_epoch(accuracies, 0.995)
    assert "reached" not in reproduce._by_epoch(accuracies, None)


def test_the_claims_are_reached() -> None:
    """What was measured on the real MNIST; the figures are written by the command alone."""

    def means(name: str, split: str) -> list[float]:
        found = json.loads((ROOT / f"docs/reproductions/{name}.json").read_text())
        return [
            float(np.mean([outcome[split]["accuracy"] for outcome in variant["outcomes"]]))
            for variant in found["variants"]
        ]

    assert means("two-conv", "test")[0] >= 0.9904
    assert means("dense-512", "test")[0] >= 0.978
    assert means("hello-dense", "training")[0] >= 0.96


def test_mistakes(small_data: Path, tmp_path: Path) -> None:
    for arguments, word in (
        ([], "--all"),
        (["nonesuch"], "two-conv"),
        (["dense-512", "--output", "/proc/nowhere"], "/proc/nowhere"),
    ):
        output = run_here(tmp_path, "reproduce", *arguments, "--data", small_data, "--no-verify", status=2)
        assert word in output.splitlines()[-1], arguments


def test_the_articles_loss_takes_the_articles_steps() -> None:
    """Its gradient is that of minus the probability of the true digit."""
    plain, by_article = (variant.recipe for variant in ARTICLES["feed-forward"].variants[:2])
    labels = np.eye(10, dtype=np.float32)[[3, 7]]
    logits = np.random.default_rng(0).normal(0, 2, (2, 10)).astype(np.float32)

    def gradient(loss: Any) -> NDArray[np.float32]:
        import tensorflow as tf

        variable = tf.Variable(logits)
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(loss(labels, tf.nn.softmax(variable)))
        return np.asarray(tape.gradient(value, variable))

    rates = [recipe.optimiser.learning_rate for recipe in (plain, by_article)]
    expected = rates[0] * gradient(lambda targets, probabilities: -keras.ops.sum(targets * probabilities, axis=-1))
    assert rates[1] * gradient(keras.losses.get(by_article.loss)) == pytest.approx(expected, abs=1e-9)
