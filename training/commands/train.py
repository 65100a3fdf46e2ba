"""The commands that train: fit, crossval, reproduce."""

import argparse
import contextlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from app.registry import store
from app.registry.store import Version
from app.retraining.progress import Progress
from training import feedback, recipes
from training.commands import chosen_recipe, import_keras, load_data, open_run, print_metrics, publish
from training.errors import TrainingError
from training.recipes import Recipe


def fit(options: argparse.Namespace) -> None:
    """Train a recipe, or fine-tune a version; measure the result through the service and publish it as the next one."""
    from training.progress import JsonLines, progress_bar

    if options.progress == "json":
        lines = JsonLines(sys.stdout)
        # Another program reads standard output then, and expects nothing but progress there.
        with contextlib.redirect_stdout(sys.stderr):
            _fit(options, contextlib.nullcontext(lines))
    else:
        _fit(options, progress_bar())


def _fit(options: argparse.Namespace, progress: AbstractContextManager[Callable[[Progress], None]]) -> None:
    start = _start(options)
    recipe = (_start_recipe(start) if start else chosen_recipe(options)).with_epochs(options.epochs)
    corrections = feedback.load(options.feedback) if options.feedback else None
    digits = load_data(options)
    run = open_run(options.run or Path("runs") / _run_name(recipe, start, options), options.fresh)
    import_keras()
    from training import candidate

    with progress as report:
        made = candidate.produce(
            recipe,
            digits,
            run,
            final=options.final,
            seed=options.seed,
            precision=options.precision,
            start=start,
            feedback=corrections,
            share=options.feedback_share,
            images=options.images or (recipes.FINE_TUNING_IMAGES if start else None),
            report=report,
        )
    print_metrics(made)
    if start and not options.final and "validation" not in store.read_manifest(made).data:
        print(
            f"not measured on MNIST: {start.path} has learned the images held out; "
            f"`python -m training compare {made} {start.path}` counts where they differ"
        )
    if options.stage:
        print(made)
        return
    number = publish(made, options)
    (run / candidate.PUBLISHED).write_text(f"version {number} in {options.models}\n")


def _start(options: argparse.Namespace) -> Version | None:
    """The version to begin with, if any."""
    if options.start is None:
        return None
    if given := options.name or options.recipe:
        raise TrainingError(f"--start uses the recipe of its version; leave {given!r} out")
    start = store.verify(options.start)
    if not start.manifest.version:
        raise TrainingError(f"{options.start} is no published version; publish it first")
    return start


def _start_recipe(start: Version) -> Recipe:
    if start.manifest.recipe is None:
        raise TrainingError(f"{start.path} was made elsewhere, without a recipe; train from scratch instead")
    try:
        recipe = recipes.from_dict(start.manifest.recipe)
        recipes.check_source(recipe)
    except TrainingError as error:
        raise TrainingError(f"the recipe in {start.path / store.MANIFEST}: {error}; or train from scratch") from None
    return recipes.fine_tuning(recipe)


def _run_name(recipe: Recipe, start: Version | None, options: argparse.Namespace) -> str:
    name = f"{recipe.name}-{options.seed}{'-final' if options.final else ''}"
    name += f"-from-{start.manifest.version}" if start else ""
    return name + ("-feedback" if options.feedback else "")


def crossval(options: argparse.Namespace) -> None:
    """Cross-validate a recipe over the training images, and draw the curves and the spread of its folds."""
    recipe = chosen_recipe(options).with_epochs(options.epochs)
    digits = load_data(options)
    if options.folds > len(digits.train):
        raise TrainingError(f"{options.folds} folds of {len(digits.train)} images; use fewer folds")
    run = open_run(options.run or Path("runs") / f"crossval-{recipe.name}", options.fresh)
    import_keras()
    from training import crossval as validation
    from training import plots
    from training.progress import progress_bar

    folds: list[validation.Fold] = []
    with progress_bar() as report:
        for fold in validation.crossval(
            recipe, digits.train, options.folds, run, seed=options.seed, precision=options.precision, report=report
        ):
            folds.append(fold)
            print(f"fold {fold.number}: accuracy {fold.accuracy:.3%}", flush=True)
    one = f", one of its {recipe.ensemble_size} networks" if recipe.ensemble_size > 1 else ""
    print(f"{recipe.name}{one}: {validation.summary(folds)}")
    plots.folds([fold.history for fold in folds], run / "folds.png")
    plots.boxes({recipe.name: [fold.accuracy for fold in folds]}, run / "boxes.png")
    print(f"pictures: {run / 'folds.png'}, {run / 'boxes.png'}")


def reproduce(options: argparse.Namespace) -> None:
    """Train the networks of published tutorials as their articles do, and write down the figures."""
    from training import articles

    if not options.names and not options.all:
        raise TrainingError(f"name one or more of {', '.join(articles.ARTICLES)}, or pass --all")
    chosen = [articles.find(name) for name in (articles.ARTICLES if options.all else options.names)]
    digits = load_data(options)
    options.output.mkdir(parents=True, exist_ok=True)
    import_keras()
    from training import reproduce as reproduction
    from training.progress import progress_bar

    for article in chosen:
        with progress_bar() as report:
            staged = reproduction.reproduce(
                article,
                digits,
                options.runs,
                options.output,
                _command(article.name, options),
                precision=options.precision,
                stop_after=options.stop_after,
                report=report,
                say=lambda line: print(line, flush=True),
            )
        print(f"written: {reproduction.write_page(options.output)}")
        for folder in staged if options.publish else []:
            publish(folder, options)


def _command(name: str, options: argparse.Namespace) -> str:
    """The command that gives the same figures again."""
    command = f"python -m training reproduce {name}"
    command += f" --precision {options.precision}" if options.precision != "float32" else ""
    return command + (f" --stop-after {options.stop_after}" if options.stop_after else "")
