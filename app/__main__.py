"""The command ``digits``, and ``python -m app``, which is ``digits serve``."""

import argparse
import importlib.util
import os
import sys
from importlib.metadata import version
from pathlib import Path

# Modules that take time to import are imported in the command that needs them.


def main(arguments: list[str] | None = None) -> None:
    """Run one command and exit with its status.

    Args:
        arguments: The command line's arguments; ``sys.argv`` by default.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["train"]:  # it parses its own arguments
        _train(arguments[1:])
    options = _parser().parse_args(arguments)
    options.run(options)


def _serve(options: argparse.Namespace) -> None:
    from app import server

    if options.model:
        os.environ["DIGITS_MODEL"] = str(options.model)
    if options.pixels:
        os.environ["DIGITS_MODEL_PIXELS"] = options.pixels
    server.serve(options.host, options.port, options.workers or server.default_workers(), options.seed)


def _read(options: argparse.Namespace) -> None:
    from app import reading

    sys.exit(reading.read_files(options.files, as_json=options.json))


def _train(arguments: list[str]) -> None:
    if importlib.util.find_spec("keras") is None:
        sys.exit("digits: Keras and TensorFlow are not installed; run: pip install 'digits[train]'")
    os.execv(sys.executable, [sys.executable, "-m", "training", *arguments])  # noqa: S606  # the command is fixed


def _work(options: argparse.Namespace) -> None:
    from app.retraining import worker

    worker.main()


def _parser() -> argparse.ArgumentParser:
    from app.registry.store import shipped_folder

    parser = argparse.ArgumentParser(prog="digits", description="Reads handwritten digits.")
    parser.add_argument("--version", action="version", version=f"digits {version('digits')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="read pictures over HTTP", description="Reads pictures over HTTP.")
    serve.set_defaults(run=_serve)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on; default: %(default)s")
    serve.add_argument("--port", type=_port, default=8000, help="default: %(default)s")
    serve.add_argument(
        "--workers", type=_count, help="server processes; default: one for each core, as far as memory allows"
    )
    serve.add_argument(
        "--model", type=Path, metavar="FILE", help="serve this saved Keras file, such as my-network.keras"
    )
    serve.add_argument(
        "--pixels",
        choices=("0..255", "0..1", "-1..1"),
        help="range of the pixels that it was trained on; default: 0..255",
    )
    serve.add_argument(
        "--seed",
        type=Path,
        metavar="FOLDER",
        nargs="?",
        const=shipped_folder(),
        help="copy this folder's version if DIGITS_MODELS has none; without FOLDER the one that ships, which is also "
        "the default if DIGITS_MODELS is not set",
    )

    read = commands.add_parser("read", help="read files, without a server", description="Reads files.")
    read.set_defaults(run=_read)
    read.add_argument("files", nargs="+", metavar="FILE", help="a picture; - for standard input")
    read.add_argument(
        "--json", action="store_true", help="print a line of JSON for each file, as POST /predict replies"
    )

    commands.add_parser("train", help="train and measure networks; see digits train --help")

    worker = commands.add_parser("worker", help="run retraining jobs", description="Runs retraining jobs.")
    worker.set_defaults(run=_work)
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("expected a port, 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError("expected 1 or more")
    return int(text)


if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
