"""The command line: ``python -m training COMMAND``; without one it lists them."""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from app.registry import store
from app.registry.manifest import Manifest, Metrics
from app.registry.store import Version
from training import data, feedback, recipes
from training.data import Digits, Split
from training.errors import RunInUse, TrainingError
from training.lock import locked
from training.progress import JsonLines, ProgressBar

SPLITS = ("test", "validation")
FORMATS = ("keras-json-h5", "onnx", "litert", "saved-model", "openvino")

# The heavy libraries are imported by the commands that need them, so that --help and mistakes answer at once.


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Returns 0, or 2 after one line on standard error that says what to mend.

    Or EX_TEMPFAIL of sysexits.h, where the same command may succeed later.
    """
    options = _parser().parse_args(arguments)
    # Like Ctrl-C: what is running is ended, and what is half-made removed.
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
        goes_on = (
            "; the same command goes on from the last epoch" if options.command in (fit, crossval, reproduce) else ""
        )
        print(f"\ntraining: stopped{goes_on}", file=sys.stderr)
        return 130
    return 0


def _complain(error: str) -> None:
    """One line on standard error, after all that was printed before."""
    sys.stdout.flush()
    print(f"training: {error}", file=sys.stderr)


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
    """Train a recipe, or a version further; measure the result through the service and publish it as the next one."""
    machine = options.progress == "json"
    report = JsonLines(sys.stdout) if machine else ProgressBar()
    # Another program reads standard output then, and expects nothing but progress there.
    with contextlib.redirect_stdout(sys.stderr) if machine else contextlib.nullcontext():
        _fit(options, report)


def _fit(options: argparse.Namespace, report: JsonLines | ProgressBar) -> None:
    start = _start(options)
    recipe = _start_recipe(start, options) if start else _recipe(options)
    given = feedback.load(options.feedback) if options.feedback else None
    digits = _load(options)
    run = options.run or Path("runs") / _run_name(recipe, start, options)
    if options.fresh:
        _start_over(run)
    run.mkdir(parents=True, exist_ok=True)
    _import_keras()
    from training import candidate

    made = candidate.produce(
        recipe,
        digits,
        run,
        final=options.final,
        seed=options.seed,
        precision=options.precision,
        start=start,
        feedback=given,
        share=options.feedback_share,
        images=options.images or (recipes.FINE_TUNING_IMAGES if start else None),
        report=report,
    )
    _print_metrics(made)
    if start and not options.final and "validation" not in store.read_manifest(made).data:
        print(
            f"not measured on MNIST: {start.path} has learned the images held out; "
            f"`python -m training compare {made} {start.path}` counts where they differ"
        )
    if options.stage:
        print(made)
        return
    number = _publish(made, options)
    (run / candidate.PUBLISHED).write_text(f"version {number} in {options.models}\n")
    _tell_what_serves(number, options)


def _start(options: argparse.Namespace) -> Version | None:
    """The version to begin with, if any."""
    if options.start is None:
        return None
    if options.recipe:
        raise TrainingError(f"--start goes on with the recipe of its version; leave {options.recipe!r} out")
    start = store.verify(options.start)
    if not start.manifest.version:
        raise TrainingError(f"{options.start} is no published version; publish it first")
    return start


def _start_recipe(start: Version, options: argparse.Namespace) -> recipes.Recipe:
    if start.manifest.recipe is None:
        raise TrainingError(f"{start.path} was made elsewhere, without a recipe; train from scratch instead")
    try:
        own = recipes.from_dict(start.manifest.recipe)
    except TrainingError as error:
        raise TrainingError(f"{start.path / store.MANIFEST}: {error}; train from scratch instead") from None
    return _changed(recipes.fine_tuning(own), options)


def _run_name(recipe: recipes.Recipe, start: Version | None, options: argparse.Namespace) -> str:
    name = f"{recipe.name}-{options.seed}{'-final' if options.final else ''}"
    name += f"-from-{start.manifest.version}" if start else ""
    return name + ("-feedback" if options.feedback else "")


def evaluate(options: argparse.Namespace) -> None:
    """Measure a version again and show the figures beside those in its card; or measure it on harder pictures."""
    from training import corruptions, image_folder, ood, synthetic_photos
    from training.evaluate import png, serving

    folder = options.models / str(options.version)
    manifest = store.verify(folder).manifest
    name = options.split or next((name for name in SPLITS if name in manifest.metrics), "test")
    found = image_folder.find_groups(options.pictures) if options.pictures else []
    images = None
    # Pictures can do without MNIST, which is then not downloaded for a column of their tables.
    if not found or options.corruptions or options.scenes or options.data or os.environ.get("DIGITS_DATA"):
        digits = _load(options)
        images = digits.test if name == "test" else digits.held_out()[1]
        if name == "validation" and manifest.has_learned(images.digest()):
            print("it may have learned these images: the figures below say nothing about new ones", file=sys.stderr)
    with serving(folder) as service:
        plain = service.read(images) if images else None
        if found:
            given = {picture.path: service.answer(picture.path.read_bytes(), picture.path.name) for picture in found}
            made = {group: [service.answer(png(image)) for image in ood.make(group)] for group in ood.GROUPS}
            print(image_folder.tables(options.pictures, given, made, plain.confidence if plain else None))
        elif plain and images:
            _print_figures(options.version, name, plain.metrics(), images, manifest)
        if options.corruptions and plain and images:
            harder = {
                kind: Split(corruptions.corrupt(kind, images.images), images.labels) for kind in corruptions.CORRUPTIONS
            }
            read = {kind: service.read(split).metrics() for kind, split in harder.items()}
            print(f"\n{corruptions.table(plain.metrics(), read)}")
        if options.scenes and images:
            some = synthetic_photos.some(images)
            seen = {
                name: [service.answer(photo) for photo in synthetic_photos.make(name, some)]
                for name in synthetic_photos.SCENES
            }
            print(f"\n{synthetic_photos.report(some, seen)}")


def write_model_card(options: argparse.Namespace) -> None:
    """Measure a version on all kinds of images, and write the tables into the page of the model card."""
    from training import model_card

    version = store.verify(options.models / str(options.version))
    model_card.write(options.output, model_card.measure(version, _load(options).test, options.pictures))
    print(f"written: {options.output}")


def _print_figures(version: int, split: str, metrics: Metrics, images: Split, manifest: Manifest) -> None:
    print(
        f"version {version} on {split}: {metrics.correct:,} of {metrics.images:,} right, "
        f"accuracy {metrics.accuracy:.2%}, nll {metrics.nll:.4f}, brier {metrics.brier:.4f}, ece {metrics.ece:.4f}, "
        f"accepted {metrics.accepted:.2%}"
    )
    for digit, counts in enumerate(metrics.confusion or []):
        total = int((images.labels == digit).sum())
        if total:
            print(f"  {digit}: {counts[digit]:,} of {total:,}")
    if split in manifest.metrics:
        told = manifest.metrics[split]
        # Cards of old tell less.
        same = all(value in (None, getattr(metrics, field)) for field, value in vars(told).items())
        says = "the same" if same else f"{told.correct:,} right, nll {told.nll:.4f}"
        other = "" if manifest.data.get(split) == images.digest() else ", on other images"
        print(f"its card says: {says}{other}")


def look(options: argparse.Namespace) -> None:
    """Draw a contact sheet of a folder's pictures: original, what the network sees, answer; red where wrong."""
    from training import contact_sheet as looking
    from training import image_folder
    from training.evaluate import answers

    number = options.version or store.current(options.models)
    found = image_folder.find(options.folder)
    given = answers(store.verify(options.models / str(number)).path, found)
    images = looking.seen(found)
    right = [picture.label in (None, answer.digit) for picture, answer in zip(found, given, strict=True)]
    shown = [place for place in range(len(found)) if not (options.wrong and right[place])]
    if not shown:
        print(f"all {len(found):,} are right")
        return
    looking.sheet([found[i] for i in shown], images[shown], [given[i] for i in shown], options.output)
    print(f"{len(shown):,} of {len(found):,} pictures, read by version {number}: {options.output}")


def compare(options: argparse.Namespace) -> None:
    """Measure two versions on the same images through the service, and print how they differ as a line of JSON."""
    from training.compare import compare as side_by_side

    held_back = feedback.load(options.feedback).held_back if options.feedback else None
    validation = _load(options).held_out()[1]
    print(json.dumps(side_by_side(options.candidate, options.current, validation, held_back)))


def calibrate(options: argparse.Namespace) -> None:
    """Find a recipe's temperature and threshold on the validation images, read by a version that held them out."""
    from training.calibration import calibrate as choose
    from training.evaluate import serving

    version = store.verify(options.models / str(options.version))
    validation = _load(options).held_out()[1]
    if version.manifest.has_learned(validation.digest()):
        raise TrainingError(
            f"version {options.version} may have learned these images; train one with `fit`, without --final"
        )
    with serving(version.path) as service:
        read = service.read(validation)
    found = choose(read.probabilities, validation.labels)
    before, after = found.nll
    # What the network was already divided by counts too.
    temperature = found.temperature * (version.manifest.temperature or 1)
    print(
        f"temperature {temperature:.2f}, nll {before:.5f} before and {after:.5f} after; "
        f"threshold {found.threshold:.2f}, which accepts {found.accepted:.2%}"
    )


def export(options: argparse.Namespace) -> None:
    """Make a version of a Keras file, measured where there is data; or write a version in another format."""
    if options.format:
        _convert(options)
        return
    options.source.stat()  # a mistake in its name should not wait for the libraries
    _import_keras()
    from training import candidate
    from training import export as exporting

    network = exporting.import_keras(options.source, options.pixels)
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
        candidate.measure(made, {"test": digits.test})
        _print_metrics(made)
    _tell_what_serves(_publish(made, options), options)


def _convert(options: argparse.Namespace) -> None:
    if not options.source.name.isdecimal():
        raise TrainingError(f"--format takes the number of a version, not {options.source}")
    version = options.models / options.source.name
    store.verify(version)
    if options.output:  # a mistake in it should not wait for the libraries
        options.output.parent.mkdir(parents=True, exist_ok=True)
    _import_keras()
    from training import formats
    from training.export import check_images

    suffix = formats.FORMATS[options.format].suffix
    output = options.output or Path("runs") / f"digits-{options.source.name}-{options.format}{suffix}"
    known = options.data or os.environ.get("DIGITS_DATA")
    images = _load(options).test.images[:1000] if known else check_images(1000)
    compared, difference = formats.convert(version, options.format, output, images)
    print(f"{output}: read back, {compared:,} images give the same digits, probabilities within {difference:.1g}")


def list_recipes(options: argparse.Namespace) -> None:
    """List the names of all recipes."""
    print("\n".join(recipes.RECIPES))


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
    if options.fresh:
        _start_over(run)
    run.mkdir(parents=True, exist_ok=True)
    _import_keras()
    from training import crossval as validating
    from training import plots

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
    one = f", one of its {recipe.ensemble_size} networks" if recipe.ensemble_size > 1 else ""
    print(f"{recipe.name}{one}: {validating.summary(folds)}{leaking}")
    plots.folds([fold.history for fold in folds], run / "folds.png")
    plots.boxes(
        {f"{recipe.name}{' (leaking)' if leaking else ''}": [fold.accuracy for fold in folds]}, run / "boxes.png"
    )
    print(f"pictures: {run / 'folds.png'}, {run / 'boxes.png'}")


def reproduce(options: argparse.Namespace) -> None:
    """Train the networks of published tutorials as their articles do, and write down what came out."""
    from training import articles

    if not options.names and not options.all:
        raise TrainingError(f"name one or more of {', '.join(articles.ARTICLES)}, or pass --all")
    chosen = [articles.find(name) for name in (articles.ARTICLES if options.all else options.names)]
    digits = _load(options)
    options.output.mkdir(parents=True, exist_ok=True)
    _import_keras()
    from training import reproduce as reproducing

    for article in chosen:
        staged = reproducing.reproduce(
            article,
            digits,
            options.runs,
            options.output,
            _reproducing_command(article.name, options),
            precision=options.precision,
            stop_after=options.stop_after,
            report=ProgressBar(),
            say=lambda line: print(line, flush=True),
        )
        print(f"written: {reproducing.write_page(options.output)}")
        for folder in staged if options.publish else []:
            _tell_what_serves(_publish(folder, options), options)


def _reproducing_command(name: str, options: argparse.Namespace) -> str:
    """The command that gives the same figures again."""
    more = f" --precision {options.precision}" if options.precision != "float32" else ""
    more += f" --stop-after {options.stop_after}" if options.stop_after else ""
    return f"python -m training reproduce {name}{more}"


def activate(options: argparse.Namespace) -> None:
    """Let another version serve; a service that runs goes over to it."""
    store.activate(options.models, options.version)
    print(f"version {options.version} serves; a service that runs goes over to it")


def _recipe(options: argparse.Namespace) -> recipes.Recipe:
    return _changed(recipes.find(options.recipe or "default"), options)


def _changed(recipe: recipes.Recipe, options: argparse.Namespace) -> recipes.Recipe:
    """The recipe with what the command line sets otherwise."""
    if options.article_loss:
        recipe = recipes.with_article_loss(recipe)
    if options.epochs is None:
        return recipe
    return dataclasses.replace(
        recipe, epochs=options.epochs, cooldown_epochs=min(recipe.cooldown_epochs, options.epochs // 2)
    )


def _load(options: argparse.Namespace) -> Digits:
    return data.load(options.data, verify=options.verify)


def _print_metrics(folder: Path) -> None:
    for split, metrics in store.read_manifest(folder).metrics.items():
        print(
            f"{split}: {metrics.correct:,} of {metrics.images:,} right, accuracy {metrics.accuracy:.2%}, "
            f"nll {metrics.nll:.4f}"
        )


def _publish(staged: Path, options: argparse.Namespace) -> int:
    number = store.publish(staged, options.models)
    print(f"published as version {number}: {options.models / str(number)}")
    return number


def _tell_what_serves(number: int, options: argparse.Namespace) -> None:
    if options.activate:
        store.activate(options.models, number)
    serving = store.current(options.models)
    if serving != number:
        print(f"version {serving} still serves; `python -m training activate {number}` changes that")


def _start_over(run: Path) -> None:
    """Remove a run's folder, but never a folder that is none."""
    if run.exists():
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

    def add_precision(to: argparse.ArgumentParser) -> None:
        to.add_argument(
            "--precision",
            choices=("float32", "mixed_bfloat16"),
            default="float32",
            help="of the arithmetic in training; bfloat16 is faster on processors that have it",
        )

    def add_training(to: argparse.ArgumentParser) -> None:
        to.add_argument("--seed", type=_whole_number(0), default=0)
        to.add_argument("--epochs", type=_whole_number(1), help="instead of the recipe's own number")
        add_precision(to)
        to.add_argument(
            "--article-loss",
            action="store_true",
            help="use the loss of feed-forward's article, made for logarithms of probabilities, to see what it costs",
        )
        to.add_argument("--run", type=Path, help="folder of the checkpoints; default below runs/")
        to.add_argument("--fresh", action="store_true", help="start over instead of going on")

    known = f"one of: {', '.join(recipes.RECIPES)}"
    fitting = add("fit", fit)
    fitting.add_argument("recipe", nargs="?", help=f"{known}; default: default")
    add_data(fitting)
    add_publishing(fitting)
    add_training(fitting)
    fitting.add_argument(
        "--start",
        type=Path,
        metavar="VERSION_FOLDER",
        help="train this version's network further, by its own recipe with a small rate and few epochs",
    )
    fitting.add_argument("--feedback", type=Path, metavar="ARCHIVE", help="corrections to learn from besides MNIST")
    fitting.add_argument(
        "--feedback-share",
        type=_share,
        default=recipes.FEEDBACK_SHARE,
        help="of all that is learned, default: %(default)s; corrections are repeated as often as that takes",
    )
    fitting.add_argument(
        "--images",
        type=_whole_number(1),
        help="most MNIST images to learn from, chosen by the seed; "
        f"default: {recipes.FINE_TUNING_IMAGES:,} with --start, else all",
    )
    fitting.add_argument("--stage", action="store_true", help="do not publish; print the candidate's folder at the end")
    fitting.add_argument(
        "--progress", choices=("bar", "json"), default="bar", help="json: a line each, alone on standard output"
    )
    fitting.add_argument(
        "--final",
        action="store_true",
        help="learn from all training images and measure on the test set; "
        "without it the last 10,000 are held out and measured on",
    )

    add("recipes", list_recipes)

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

    reproducing = add("reproduce", reproduce)
    reproducing.add_argument("names", nargs="*", metavar="NAME", help="of an article's recipe")
    reproducing.add_argument("--all", action="store_true", help="all of them; seven-conv alone takes hours on a CPU")
    add_data(reproducing)
    add_publishing(reproducing)
    add_precision(reproducing)
    reproducing.add_argument("--publish", action="store_true", help="publish the first network of each variant")
    reproducing.add_argument("--runs", type=Path, default=Path("runs/reproduce"), help="folder of the checkpoints")
    reproducing.add_argument("--output", type=Path, default=Path("docs"), help="folder of the page that is written")
    reproducing.add_argument(
        "--stop-after", type=_whole_number(1), help="measure after this many epochs, where there is no time for all"
    )

    evaluating = add("evaluate", evaluate)
    evaluating.add_argument("version", type=_whole_number(1))
    add_data(evaluating)
    add_models(evaluating)
    evaluating.add_argument("--split", choices=SPLITS, help="default: what its card was measured on")
    evaluating.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="measure on the pictures below it instead, GROUP/SOURCE/LABEL_N.png and the like, and on made ones "
        "without a digit: how many are right, how many are declined",
    )
    evaluating.add_argument(
        "--corruptions", action="store_true", help="measure also on the split's images corrupted as in MNIST-C"
    )
    evaluating.add_argument(
        "--scenes",
        action="store_true",
        help="measure also on some of the split's images laid on paper and photographed",
    )

    describing_version = add("model-card", write_model_card)
    describing_version.add_argument("version", type=_whole_number(1))
    add_data(describing_version)
    add_models(describing_version)
    describing_version.add_argument("--pictures", type=Path, metavar="DIR", help="as for evaluate; more tables")
    describing_version.add_argument(
        "--output", type=Path, default=Path("docs/model-card.md"), help="the page, with the two markers"
    )

    calibrating = add("calibrate", calibrate)
    calibrating.add_argument("version", type=_whole_number(1))
    add_data(calibrating)
    add_models(calibrating)

    looking = add("look", look)
    looking.add_argument("folder", type=Path, help="of pictures; a name such as 7_3.png says which digit it shows")
    add_models(looking)
    looking.add_argument("--version", type=_whole_number(1), help="default: the one that serves")
    looking.add_argument("--wrong", action="store_true", help="only those not read as their label")
    looking.add_argument("--output", type=Path, default=Path("runs/look.png"), help="the picture to draw")

    comparing = add("compare", compare)
    comparing.add_argument("candidate", type=Path, help="folder of a version, published or not")
    comparing.add_argument("current", type=Path, help="folder of the version to compare it with")
    comparing.add_argument("--feedback", type=Path, metavar="ARCHIVE", help="compare on what is held back of it, too")
    add_data(comparing)

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


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError(f"expected a share between 0 and 1, not {text!r}")
    return share


if __name__ == "__main__":
    sys.exit(main())
