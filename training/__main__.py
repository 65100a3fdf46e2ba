"""The command line: ``python -m training explore | describe | fit | crossval | evaluate | export | activate``."""

import argparse
import dataclasses
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from training import data, recipes, versions
from training.data import Digits
from training.errors import TrainingError
from training.progress import ProgressBar

FORMATS = ("keras-json-h5", "onnx", "litert", "saved-model", "openvino")

# The heavy libraries are imported by the commands that need them, so that --help and mistakes answer at once.


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns 0, or 2 after one line on standard error that says what to mend."""
    options = _parser().parse_args(arguments)
    # Like Ctrl-C: what is running is ended, and what is half-made removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        options.command(options)
    except (TrainingError, versions.VersionError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"training: {_explain(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        goes_on = "; the same command goes on from the last epoch" if options.command in (fit, crossval) else ""
        print(f"\ntraining: stopped{goes_on}", file=sys.stderr)
        return 130
    return 0


def _explain(error: OSError) -> str:
    if isinstance(error, shutil.Error):  # one entry a file that could not be copied
        source, _, why = error.args[0][0]
        return f"{source}: {why}"
    reason = (error.strerror or str(error)).lower()
    return f"{error.filename}: {reason}" if error.filename else reason


def _import_keras() -> None:
    """Import Keras without the greetings of its backend, which would tear the progress bar.

    Some are written to file descriptor 2 before any log level is read; what goes wrong still raises.
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


def explore(options: argparse.Namespace) -> None:
    """Print the shapes and label counts of the data, and draw its first nine images."""
    from training import plots

    digits = _load(options)
    for name, split in (("training", digits.train), ("test", digits.test)):
        images, counts = split.images, [int((split.labels == digit).sum()) for digit in range(10)]
        print(
            f"{name}: images {images.shape} {images.dtype} {images.min()} to {images.max()}, "
            f"labels {split.labels.shape}"
        )
        print("  " + ", ".join(f"{digit}: {count:,}" for digit, count in enumerate(counts)))
    plots.samples(digits.train, options.output)
    print(f"the first nine training images: {options.output}")


def fit(options: argparse.Namespace) -> None:
    """Train a recipe, measure the result through the service, and publish it as the next version."""
    recipe = _recipe(options)
    digits = _load(options)
    run = options.run or Path("runs") / f"{recipe.name}-{options.seed}{'-final' if options.final else ''}"
    _import_keras()
    from training import candidate

    if options.fresh:
        _start_over(run)
    made = candidate.produce(
        recipe,
        digits,
        run,
        final=options.final,
        seed=options.seed,
        precision=options.precision,
        report=ProgressBar(),
    )
    _print_metrics(made)
    number = _publish(made, options)
    (run / candidate.PUBLISHED).write_text(f"version {number} in {options.models}\n")
    _tell_what_serves(number, options)


def evaluate(options: argparse.Namespace) -> None:
    """Measure a version again and show the figure beside the one in its card."""
    from training.evaluate import evaluate as measure

    folder = options.models / str(options.version)
    card = versions.verify(folder).card
    split = options.split or next(iter(card.metrics), "test")
    digits = _load(options)
    images = digits.test if split == "test" else digits.held_out()[1]
    if split == "validation" and card.data.get("train") == digits.train.digest():
        print("it has learned these images: the figures below say nothing about new ones", file=sys.stderr)
    evaluation = measure(folder, images)
    metrics = evaluation.metrics()
    print(
        f"version {options.version} on {split}: {metrics.correct:,} of {metrics.images:,} right, "
        f"accuracy {metrics.accuracy:.2%}, nll {metrics.nll:.4f}"
    )
    for digit in range(10):
        of_digit = evaluation.labels == digit
        if of_digit.any():
            right = int((evaluation.digits[of_digit] == digit).sum())
            print(f"  {digit}: {right:,} of {int(of_digit.sum()):,}")
    if split in card.metrics:
        told = card.metrics[split]
        same = "the same" if told == metrics else f"{told.correct:,} right, nll {told.nll:.4f}"
        other = "" if card.data.get(split) == images.digest() else ", on other images"
        print(f"its card says: {same}{other}")


def export(options: argparse.Namespace) -> None:
    """Make a version of a Keras file, measured where there is data; or write a version in another format."""
    if options.format:
        _convert(options)
        return
    _import_keras()
    from training import candidate
    from training import export as exporting

    network = exporting.adopt(options.source, options.pixels)
    made = Path("runs") / f"export-{options.source.stem}"
    exporting.renew(made)
    try:
        digits: Digits | None = _load(options)
    except TrainingError as error:
        if options.data or os.environ.get("DIGITS_DATA"):
            raise
        print(f"not measured: {error}", file=sys.stderr)
        digits = None
    exporting.stage(network, made, data={"test": digits.test.digest()} if digits else {})
    if digits:
        candidate.measure(made, digits.test, "test", [])
        _print_metrics(made)
    _tell_what_serves(_publish(made, options), options)


def _convert(options: argparse.Namespace) -> None:
    if not options.source.name.isdecimal():
        raise TrainingError(f"--format takes the number of a version, not {options.source}")
    version = options.models / options.source.name
    versions.verify(version)
    _import_keras()
    from training import formats
    from training.export import check_images

    suffix = formats.FORMATS[options.format].suffix
    output = options.output or Path("runs") / f"digits-{options.source.name}-{options.format}{suffix}"
    known = options.data or os.environ.get("DIGITS_DATA")
    images = _load(options).test.images[:1000] if known else check_images(1000)
    compared, difference = formats.convert(version, options.format, output, images)
    print(f"{output}: read back, {compared:,} images give the same digits, probabilities within {difference:.1g}")


def describe(options: argparse.Namespace) -> None:
    """Print a recipe's layers: output shape, parameters, multiply-adds and receptive field."""
    from training.describe import table

    print(table(recipes.find(options.recipe)))


def crossval(options: argparse.Namespace) -> None:
    """Cross-validate a recipe over the training images, and draw the curves and the spread of its folds."""
    recipe = _recipe(options)
    digits = _load(options)
    if options.folds > len(digits.train):
        raise TrainingError(f"{options.folds} folds of {len(digits.train)} images; use fewer folds")
    leaking = " (leaking: one network through all folds)" if options.reuse_network else ""
    run = options.run or Path("runs") / f"crossval-{recipe.name}{'-reused' if leaking else ''}"
    _import_keras()
    from training import crossval as validating
    from training import plots

    if options.fresh:
        _start_over(run)
    run.mkdir(parents=True, exist_ok=True)
    folds: list[validating.Fold] = []
    for fold in validating.crossval(
        recipe,
        digits.train,
        options.folds,
        run,
        seed=options.seed,
        precision=options.precision,
        reuse_network=options.reuse_network,
        report=ProgressBar(),
    ):
        folds.append(fold)
        print(f"fold {fold.number}: accuracy {fold.accuracy:.3%}{leaking}", flush=True)
    print(f"{recipe.name}: {validating.summary(folds)}{leaking}")
    plots.folds([fold.history for fold in folds], run / "folds.png")
    plots.boxes(
        {f"{recipe.name}{' (leaking)' if leaking else ''}": [fold.accuracy for fold in folds]}, run / "boxes.png"
    )
    print(f"pictures: {run / 'folds.png'}, {run / 'boxes.png'}")


def activate(options: argparse.Namespace) -> None:
    """Let another version serve from the next start on."""
    versions.activate(options.models, options.version)
    print(f"version {options.version} serves from the next start of the service on")


def _recipe(options: argparse.Namespace) -> recipes.Recipe:
    recipe = recipes.find(options.recipe)
    if options.epochs is None:
        return recipe
    return dataclasses.replace(recipe, epochs=options.epochs, average=min(recipe.average, options.epochs))


def _load(options: argparse.Namespace) -> Digits:
    return data.load(options.data, verify=options.verify)


def _print_metrics(folder: Path) -> None:
    for split, metrics in versions.card_of(folder).metrics.items():
        print(
            f"{split}: {metrics.correct:,} of {metrics.images:,} right, accuracy {metrics.accuracy:.2%}, "
            f"nll {metrics.nll:.4f}"
        )


def _publish(staged: Path, options: argparse.Namespace) -> int:
    number = versions.publish(staged, options.models)
    print(f"published as version {number}: {options.models / str(number)}")
    return number


def _tell_what_serves(number: int, options: argparse.Namespace) -> None:
    if options.activate:
        versions.activate(options.models, number)
    serving = versions.current(options.models)
    if serving != number:
        print(f"version {serving} still serves; `python -m training activate {number}` changes that")


def _start_over(run: Path) -> None:
    """Remove a run's folder, but never a folder that is none."""
    if run.exists():
        if any(run.iterdir()) and not [*run.glob("run.json"), *run.glob("fold-*/run.json")]:
            raise TrainingError(f"{run} is no folder of a run, so --fresh does not empty it; choose another with --run")
        shutil.rmtree(run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Trains and measures networks for Digits.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Any) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        added.set_defaults(command=command)
        return added

    def add_data(to: argparse.ArgumentParser) -> None:
        to.add_argument("--data", type=Path, help="folder of the four MNIST files; else DIGITS_DATA, else a download")
        to.add_argument("--no-verify", dest="verify", action="store_false", help="take other data in this format")

    def add_models(to: argparse.ArgumentParser) -> None:
        to.add_argument("--models", type=Path, default=Path("models/digits"), help="folder of the versions")

    def add_publishing(to: argparse.ArgumentParser) -> None:
        add_models(to)
        to.add_argument("--activate", action="store_true", help="let the new version serve")

    exploring = add("explore", explore)
    add_data(exploring)
    exploring.add_argument("--output", type=Path, default=Path("runs/samples.png"), help="the picture to draw")

    def add_training(to: argparse.ArgumentParser) -> None:
        to.add_argument("--seed", type=_whole_number(0), default=0)
        to.add_argument("--epochs", type=_whole_number(1), help="instead of the recipe's own number")
        to.add_argument(
            "--precision",
            choices=("float32", "mixed_bfloat16"),
            default="float32",
            help="of the arithmetic in training; bfloat16 is faster on processors that have it",
        )
        to.add_argument("--run", type=Path, help="folder of the checkpoints; default below runs/")
        to.add_argument("--fresh", action="store_true", help="start over instead of going on")

    known = f"one of: {', '.join(recipes.RECIPES)}"
    fitting = add("fit", fit)
    fitting.add_argument("recipe", nargs="?", default="default", help=known)
    add_data(fitting)
    add_publishing(fitting)
    add_training(fitting)
    fitting.add_argument(
        "--final",
        action="store_true",
        help="learn from all training images and measure on the test set; "
        "without it the last 10,000 are held out and measured on",
    )

    describing = add("describe", describe)
    describing.add_argument("recipe", help=known)

    validating = add("crossval", crossval)
    validating.add_argument("recipe", help=known)
    add_data(validating)
    add_training(validating)
    validating.add_argument("--folds", type=_whole_number(2), default=5)
    validating.add_argument(
        "--reuse-network",
        action="store_true",
        help="train one network on through all folds, a mistake of tutorials: from the second fold on it is "
        "measured on images that it has learned",
    )

    evaluating = add("evaluate", evaluate)
    evaluating.add_argument("version", type=_whole_number(1))
    add_data(evaluating)
    add_models(evaluating)
    evaluating.add_argument("--split", choices=("test", "validation"), help="default: what its card was measured on")

    exporting = add("export", export)
    exporting.add_argument(
        "source",
        type=Path,
        help="a Keras file that maps 28x28 to ten softmax outputs; with --format a version's number",
    )
    exporting.add_argument("--format", choices=FORMATS, help="write a version in this format instead")
    exporting.add_argument("--output", type=Path, help="where to write it; default below runs/")
    add_data(exporting)
    add_publishing(exporting)
    exporting.add_argument(
        "--pixels",
        choices=("0..255", "0..1", "-1..1"),
        default="0..255",
        help="range of the numbers that the network was trained on",
    )

    activating = add("activate", activate)
    activating.add_argument("version", type=_whole_number(1))
    add_models(activating)
    return parser


def _whole_number(least: int) -> Any:
    most = 10**9  # libraries take seeds of 32 bits, and nobody needs more of anything else

    def whole_number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text[:20]) <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, not {text!r}")
        return int(text)

    return whole_number


if __name__ == "__main__":
    sys.exit(main())
