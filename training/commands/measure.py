"""The commands that measure versions: evaluate, look, compare, calibrate."""

import argparse
import json
import sys

from app.registry import store
from app.registry.manifest import Manifest, Metrics
from training import feedback
from training.commands import load_data, names_data
from training.data import Split
from training.errors import TrainingError

SPLITS = ("test", "validation")


def evaluate(options: argparse.Namespace) -> None:
    """Measure a version again and show the figures beside those of its manifest; or measure it on harder pictures."""
    folder = options.models / str(options.version)
    manifest = store.verify(folder).manifest
    from training import corruptions, image_folder
    from training.evaluate import png, serving
    from training.synthetic import ood_evaluation, photos

    name = options.split or next((name for name in SPLITS if name in manifest.metrics), "test")
    found = image_folder.find_groups(options.pictures) if options.pictures else []
    images = None
    # Pictures can do without MNIST, which is then not downloaded for one column of their tables.
    if not found or options.corruptions or options.scenes or names_data(options):
        digits = load_data(options)
        images = digits.test if name == "test" else digits.held_out()[1]
        if name == "validation" and manifest.has_learned(images.digest()):
            print("it may have learned these images: the figures below say nothing about new ones", file=sys.stderr)
    with serving(folder) as service:
        plain = service.read(images) if images else None
        if found:
            answers = {picture.path: service.answer(picture.path.read_bytes(), picture.path.name) for picture in found}
            synthetic = {
                group: [service.answer(png(image)) for image in ood_evaluation.make(group)]
                for group in ood_evaluation.GROUPS
            }
            print(image_folder.tables(options.pictures, answers, synthetic, plain.confidence if plain else None))
        elif plain and images:
            _print_figures(options.version, name, plain.metrics(), images, manifest)
        if options.corruptions and plain and images:
            corrupted = {
                kind: Split(corruptions.corrupt(kind, images.images), images.labels) for kind in corruptions.CORRUPTIONS
            }
            figures = {kind: service.read(split).metrics() for kind, split in corrupted.items()}
            print(f"\n{corruptions.table(plain.metrics(), figures)}")
        if options.scenes and images:
            some = photos.some(images)
            seen = {name: [service.answer(photo) for photo in photos.make(name, some)] for name in photos.SCENES}
            print(f"\n{photos.report(some, seen)}")


def model_card(options: argparse.Namespace) -> None:
    """Measure a version on all kinds of images, and write the tables of the model card's page."""
    from training import model_card as card

    version = store.verify(options.models / str(options.version))
    card.write(options.output, card.measure(version, load_data(options).test, options.pictures))
    print(f"written: {options.output}")


def _print_figures(version: int, split: str, metrics: Metrics, images: Split, manifest: Manifest) -> None:
    print(
        f"version {version} on {split}: {metrics.correct:,} of {metrics.images:,} correct, "
        f"accuracy {metrics.accuracy:.2%}, nll {metrics.nll:.4f}, brier {metrics.brier:.4f}, ece {metrics.ece:.4f}, "
        f"accepted {metrics.accepted:.2%}"
    )
    for digit, counts in enumerate(metrics.confusion or []):
        total = int((images.labels == digit).sum())
        if total:
            print(f"  {digit}: {counts[digit]:,} of {total:,}")
    if split in manifest.metrics:
        recorded = manifest.metrics[split]
        # Old manifests have fewer figures.
        same = all(value in (None, getattr(metrics, field)) for field, value in vars(recorded).items())
        says = "the same" if same else f"{recorded.correct:,} correct, nll {recorded.nll:.4f}"
        other = "" if manifest.data.get(split) == images.digest() else ", on other images"
        print(f"its manifest says: {says}{other}")


def look(options: argparse.Namespace) -> None:
    """Draw a contact sheet of a folder's pictures: original, what the network sees, answer; errors in red."""
    number = options.version or store.current(options.models)
    version = store.verify(options.models / str(number))
    from training import contact_sheet, image_folder
    from training.evaluate import answers

    found = image_folder.find(options.folder)
    given = answers(version.path, found)
    images = contact_sheet.seen(found)
    correct = [picture.label in (None, answer.digit) for picture, answer in zip(found, given, strict=True)]
    shown = [index for index in range(len(found)) if not (options.wrong and correct[index])]
    if not shown:
        print(f"all {len(found):,} are correct")
        return
    contact_sheet.sheet([found[i] for i in shown], images[shown], [given[i] for i in shown], options.output)
    print(f"{len(shown):,} of {len(found):,} pictures, read by version {number}: {options.output}")


def compare(options: argparse.Namespace) -> None:
    """Measure two versions on the same images through the service, and print how they differ as a line of JSON."""
    from training.compare import compare as side_by_side

    held_out = feedback.load(options.feedback).held_out if options.feedback else None
    validation = load_data(options).held_out()[1]
    print(json.dumps(side_by_side(options.candidate, options.current, validation, held_out)))


def calibrate(options: argparse.Namespace) -> None:
    """Find a recipe's temperature and threshold on the validation images, with a version that did not learn them."""
    from training.calibration import calibrate as choose
    from training.evaluate import serving

    version = store.verify(options.models / str(options.version))
    validation = load_data(options).held_out()[1]
    if version.manifest.has_learned(validation.digest()):
        raise TrainingError(
            f"version {options.version} may have learned these images; train one with `fit`, without --final"
        )
    with serving(version.path) as service:
        read = service.read(validation)
    found = choose(read.probabilities, validation.labels)
    before, after = found.nll
    # The served network's logits are divided by a temperature already.
    temperature = found.temperature * (version.manifest.temperature or 1)
    print(
        f"temperature {temperature:.2f}, nll {before:.5f} before and {after:.5f} after; "
        f"threshold {found.threshold:.2f}, which accepts {found.accepted:.2%}"
    )
