"""What each command does.

Heavy libraries are imported by the commands that need them, so that --help and mistakes are answered at once.
"""

import argparse
import contextlib
import os
import shutil
from pathlib import Path

from app.registry import store
from training import data, recipes
from training.data import Digits
from training.errors import TrainingError
from training.lock import locked
from training.recipes import Recipe


def import_keras() -> None:
    """Import Keras without the greetings of its backend, which would tear the progress bar.

    Some are written to file descriptor 2 before any log level is read; errors still raise.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import keras  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def load_data(options: argparse.Namespace) -> Digits:
    """MNIST, from where the options say."""
    return data.load(options.data, verify=options.verify)


def names_data(options: argparse.Namespace) -> bool:
    """Whether the options or the environment name a folder of MNIST, which then needs no download."""
    return bool(options.data or os.environ.get("DIGITS_DATA"))


def chosen_recipe(options: argparse.Namespace) -> Recipe:
    """The recipe that the options name, or give as a file."""
    if options.name and options.recipe:
        raise TrainingError(f"give a recipe's name or --recipe, not both {options.name!r} and {options.recipe!r}")
    return recipes.from_option(options.recipe) if options.recipe else recipes.find(options.name or "default")


def open_run(run: Path, fresh: bool) -> Path:
    """Make a run's folder, after removing it if it should start over; but never a folder that is no run's.

    Raises:
        TrainingError: when it is another folder, or another process uses it.
    """
    if fresh and run.exists():
        parts = [
            path.parent
            for path in run.rglob("run.json")
            if path.parent.name.startswith(("fold-", "network-", "first-stage"))
        ]
        if any(run.iterdir()) and not parts and not (run / "run.json").exists():
            raise TrainingError(f"{run} is no folder of a run, so --fresh does not empty it; choose another with --run")
        with contextlib.ExitStack() as held:
            for folder in (run, *parts):
                held.enter_context(locked(folder))
            shutil.rmtree(run)
    run.mkdir(parents=True, exist_ok=True)
    return run


def print_metrics(folder: Path) -> None:
    """Print the figures of a version's manifest, a line for each split."""
    for split, metrics in store.read_manifest(folder).metrics.items():
        print(
            f"{split}: {metrics.correct:,} of {metrics.images:,} correct, accuracy {metrics.accuracy:.2%}, "
            f"nll {metrics.nll:.4f}"
        )


def publish(staged: Path, options: argparse.Namespace) -> int:
    """Publish a staged version, activate it if that is wanted, and say which version serves.

    Returns:
        Its number.
    """
    number = store.publish(staged, options.models)
    print(f"published as version {number}: {options.models / str(number)}")
    if options.activate:
        store.activate(options.models, number)
    serving = store.current(options.models)
    if serving != number:
        print(f"version {serving} still serves; `python -m training activate {number}` changes that")
    return number
