"""The commands that make and choose versions: export, activate."""

import argparse
import sys
from pathlib import Path

from app.registry import store
from training.commands import import_keras, load_data, names_data, print_metrics, publish
from training.data import Digits
from training.errors import TrainingError

FORMATS = ("keras-json-h5", "onnx", "litert", "saved-model", "openvino")


def export(options: argparse.Namespace) -> None:
    """Import a Keras file as a version, measured where there is data; or write a version in another format."""
    if options.format:
        _convert(options)
        return
    options.source.stat()  # a mistake in its name should not wait for the libraries
    import_keras()
    from training import candidate
    from training import export as exporting

    network = exporting.import_keras(options.source, options.pixels)
    staged = Path("runs") / f"export-{options.source.stem}"
    exporting.renew(staged)
    digits: Digits | None = None
    if not options.unmeasured:
        try:
            digits = load_data(options)
        except TrainingError as error:
            if names_data(options):
                raise
            print(f"not measured: {error}", file=sys.stderr)
    exporting.stage(network, staged, data={"test": digits.test.digest()} if digits else {})
    if digits:
        candidate.measure(staged, {"test": digits.test})
        print_metrics(staged)
    publish(staged, options)


def _convert(options: argparse.Namespace) -> None:
    if not options.source.name.isdecimal():
        raise TrainingError(f"--format takes the number of a version, not {options.source}")
    version = options.models / options.source.name
    store.verify(version)
    if options.output:  # a mistake in it should not wait for the libraries
        options.output.parent.mkdir(parents=True, exist_ok=True)
    import_keras()
    from training import formats
    from training.export import check_images

    suffix = formats.FORMATS[options.format].suffix
    output = options.output or Path("runs") / f"digits-{options.source.name}-{options.format}{suffix}"
    images = load_data(options).test.images[:1000] if names_data(options) else check_images(1000)
    compared, difference = formats.convert(version, options.format, output, images)
    print(f"{output}: read back, {compared:,} images give the same digits, probabilities within {difference:.1g}")


def activate(options: argparse.Namespace) -> None:
    """Let another version serve; a running service changes to it."""
    store.activate(options.models, options.version)
    print(f"version {options.version} serves; a running service changes to it")
