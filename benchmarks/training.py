"""Time to accuracy: the recipe quick over several seeds, compared with two-conv and its article's settings."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from app.registry import store
from app.registry.manifest import Manifest
from benchmarks import machine
from benchmarks.peer import CACHE
from benchmarks.service import ROOT
from benchmarks.table import markdown
from training import recipes

QUICK, ARTICLE = "quick", "two-conv"
MIN_ACCURACY = 0.992  # what a tutorial claims after a quarter of an hour and more of training


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("training", help=__doc__.splitlines()[0], description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("DIGITS_DATA"), help="default: DIGITS_DATA")
    parser.add_argument("--seeds", type=int, default=5, help="of the quick recipe; default: %(default)s")
    parser.add_argument(
        "--epochs", type=int, default=recipes.find(ARTICLE).epochs, help=f"of {ARTICLE}, scaled to all; default: all"
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> bool:
    """Train on all 60,000 images, measure on the test set. Returns whether the recipe quick reaches MIN_ACCURACY."""
    # The article's in the middle, so that what else the machine does affects both alike.
    half = options.seeds // 2
    plan = [(QUICK, seed, None) for seed in range(options.seeds)]
    plan.insert(half, (ARTICLE, 0, options.epochs))
    manifests = [(name, _train(options.data, name, seed, epochs)) for name, seed, epochs in plan]
    quick = [manifest for name, manifest in manifests if name == QUICK]
    (article,) = (manifest for name, manifest in manifests if name == ARTICLE)
    accuracies = [manifest.metrics["test"].accuracy for manifest in quick]
    seconds = statistics.median(_seconds(manifest) for manifest in quick)
    whole = _seconds(article) * recipes.find(ARTICLE).epochs / options.epochs
    mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
    rows = [
        [QUICK, f"{mean:.2%} ± {deviation:.2%} ({len(quick)} seeds)", f"{seconds:.0f}", f"1/{whole / seconds:.0f}"],
        [
            f"{ARTICLE}, {options.epochs} of {recipes.find(ARTICLE).epochs} epochs",
            f"{article.metrics['test'].accuracy:.2%} (1 seed)",
            f"{whole:.0f}",
            "1",
        ],
    ]
    print(f"{machine.describe()}\n")
    print(markdown(["recipe", "test accuracy", "seconds of training, all epochs", "ratio"], rows))
    told = [
        {
            "recipe": name,
            "seed": manifest.seed,
            "seconds": _seconds(manifest),
            "test": manifest.metrics["test"].accuracy,
        }
        for name, manifest in manifests
    ]
    CACHE.mkdir(parents=True, exist_ok=True)
    (CACHE / "training.json").write_text(json.dumps({"machine": machine.describe(), "runs": told}, indent=2) + "\n")
    return mean >= MIN_ACCURACY


def _seconds(manifest: Manifest) -> float:
    """Seconds of its training."""
    assert manifest.training_seconds is not None
    return manifest.training_seconds


def _train(data: Path, name: str, seed: int, epochs: int | None) -> Manifest:
    """Train a temporary version. Returns its manifest."""
    with tempfile.TemporaryDirectory(prefix="digits-") as scratch:
        models, more = Path(scratch, "models"), [] if epochs is None else ["--epochs", str(epochs)]
        command = [sys.executable, "-m", "training", "fit", name, "--final", "--seed", str(seed), "--data", str(data)]
        command += ["--models", str(models), "--run", str(Path(scratch, "run")), *more]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  # our own
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        manifest = store.read_manifest(models / "1")
    print(f"{name}, seed {seed}: {manifest.metrics['test'].accuracy:.2%} in {_seconds(manifest):.0f} s", flush=True)
    return manifest
