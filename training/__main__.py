"""The command line: ``python -m training COMMAND``; without a command it lists them."""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from app.registry import store
from training import arguments, recipes
from training.commands import measure, show, train, versions
from training.errors import RunInUse, TrainingError

RESUMABLE = (train.fit, train.crossval, train.reproduce)


def main(command_line: list[str] | None = None) -> int:
    """Run one command.

    Args:
        command_line: default: that of the process.

    Returns:
        The exit status: 0; 2 after one line on standard error that says what to mend; or EX_TEMPFAIL of sysexits.h,
        where the same command may succeed later.
    """
    options = _parser().parse_args(command_line)
    # Like Ctrl-C: what runs is ended, and what is half-made removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        options.command(options)
    except (TrainingError, store.VersionError) as error:
        _complain(str(error))
        return os.EX_TEMPFAIL if isinstance(error, RunInUse) else 2
    except OSError as error:
        _complain(_explain(error))
        return 2
    except KeyboardInterrupt:
        resumes = "; the same command resumes from the last epoch" if options.command in RESUMABLE else ""
        print(f"\ntraining: stopped{resumes}", file=sys.stderr)
        return 130
    return 0


def _complain(error: str) -> None:
    """Print one line to standard error, after all that was printed before."""
    sys.stdout.flush()
    print(f"training: {error}", file=sys.stderr)


def _explain(error: OSError) -> str:
    if isinstance(error, shutil.Error):  # one entry for each file that could not be copied
        source, _, why = error.args[0][0]
        return f"{source}: {why}"
    reason = (error.strerror or str(error)).lower()
    return f"{error.filename}: {reason}" if error.filename else reason


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Trains and measures networks for Digits.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        added.set_defaults(command=command)
        return added

    explore = add("explore", show.explore)
    arguments.add_data(explore)
    explore.add_argument("--output", type=Path, default=Path("runs/samples.png"), help="the picture to draw")

    fit = add("fit", train.fit)
    arguments.add_recipe(fit)
    arguments.add_data(fit)
    arguments.add_publishing(fit)
    arguments.add_training(fit)
    fit.add_argument(
        "--start",
        type=Path,
        metavar="VERSION_FOLDER",
        help="fine-tune this version's network, by its own recipe with a small learning rate and few epochs",
    )
    fit.add_argument("--feedback", type=Path, metavar="ARCHIVE", help="corrections to learn from besides MNIST")
    fit.add_argument(
        "--feedback-share",
        type=arguments.share,
        default=recipes.FEEDBACK_SHARE,
        help="of all that is learned, default: %(default)s; corrections are repeated as often as that takes",
    )
    fit.add_argument(
        "--images",
        type=arguments.whole_number(1),
        help="MNIST images to learn from at most, chosen by the seed; "
        f"default: {recipes.FINE_TUNING_IMAGES:,} with --start, else all",
    )
    fit.add_argument("--stage", action="store_true", help="do not publish; print the candidate's folder at the end")
    fit.add_argument(
        "--progress", choices=("bar", "json"), default="bar", help="json: a line each, alone on standard output"
    )
    fit.add_argument(
        "--final",
        action="store_true",
        help="learn from all training images and measure on the test set; "
        "without it the last 10,000 are held out and measured on",
    )

    add("recipes", show.list_recipes)
    arguments.add_recipe(add("describe", show.describe))

    crossval = add("crossval", train.crossval)
    arguments.add_recipe(crossval)
    arguments.add_data(crossval)
    arguments.add_training(crossval)
    crossval.add_argument("--folds", type=arguments.whole_number(2), default=5)

    reproduce = add("reproduce", train.reproduce)
    reproduce.add_argument("names", nargs="*", metavar="NAME", help="of an article's recipe")
    reproduce.add_argument("--all", action="store_true", help="all of them; seven-conv alone takes hours on a CPU")
    arguments.add_data(reproduce)
    arguments.add_publishing(reproduce)
    arguments.add_precision(reproduce)
    reproduce.add_argument("--publish", action="store_true", help="publish the first network of each variant")
    reproduce.add_argument("--runs", type=Path, default=Path("runs/reproduce"), help="folder of the checkpoints")
    reproduce.add_argument("--output", type=Path, default=Path("docs"), help="folder of the page that is written")
    reproduce.add_argument(
        "--stop-after",
        type=arguments.whole_number(1),
        help="measure after this many epochs, where there is no time for all",
    )

    evaluate = add("evaluate", measure.evaluate)
    evaluate.add_argument("version", type=arguments.whole_number(1))
    arguments.add_data(evaluate)
    arguments.add_models(evaluate)
    evaluate.add_argument("--split", choices=measure.SPLITS, help="default: what its manifest has figures of")
    evaluate.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="measure on the pictures below it instead, GROUP/SOURCE/LABEL_N.png and the like, and on synthetic ones "
        "without a digit: how many are correct, how many are rejected",
    )
    evaluate.add_argument(
        "--corruptions", action="store_true", help="measure also on the split's images corrupted as in MNIST-C"
    )
    evaluate.add_argument(
        "--scenes", action="store_true", help="measure also on synthetic photos of some of the split's images"
    )

    model_card = add("model-card", measure.model_card)
    model_card.add_argument("version", type=arguments.whole_number(1))
    arguments.add_data(model_card)
    arguments.add_models(model_card)
    model_card.add_argument("--pictures", type=Path, metavar="DIR", help="as for evaluate; more tables")
    model_card.add_argument(
        "--output", type=Path, default=Path("docs/model-card.md"), help="the page, with the two markers"
    )

    calibrate = add("calibrate", measure.calibrate)
    calibrate.add_argument("version", type=arguments.whole_number(1))
    arguments.add_data(calibrate)
    arguments.add_models(calibrate)

    look = add("look", measure.look)
    look.add_argument("folder", type=Path, help="of pictures; a name such as 7_3.png says which digit it shows")
    arguments.add_models(look)
    look.add_argument("--version", type=arguments.whole_number(1), help="default: the one that serves")
    look.add_argument("--wrong", action="store_true", help="only the errors")
    look.add_argument("--output", type=Path, default=Path("runs/look.png"), help="the picture to draw")

    compare = add("compare", measure.compare)
    compare.add_argument("candidate", type=Path, help="folder of a version, published or not")
    compare.add_argument("current", type=Path, help="folder of the version to compare it with")
    compare.add_argument("--feedback", type=Path, metavar="ARCHIVE", help="compare on its held-out corrections, too")
    arguments.add_data(compare)

    export = add("export", versions.export)
    export.add_argument(
        "source",
        type=Path,
        help="a Keras file of a network from 28x28 pixels to ten probabilities; with --format a version's number",
    )
    export.add_argument("--format", choices=versions.FORMATS, help="write a version in this format instead")
    export.add_argument("--output", type=Path, help="where to write it; default below runs/")
    export.add_argument("--unmeasured", action="store_true", help="do not measure the version on MNIST")
    arguments.add_data(export)
    arguments.add_publishing(export)
    export.add_argument(
        "--pixels",
        choices=("0..255", "0..1", "-1..1"),
        default="0..255",
        help="range of the numbers that the network was trained on",
    )

    activate = add("activate", versions.activate)
    activate.add_argument("version", type=arguments.whole_number(1))
    arguments.add_models(activate)
    return parser


if __name__ == "__main__":
    sys.exit(main())
