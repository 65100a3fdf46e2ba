"""What several tests of training need."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TextIO
from unittest import mock

from tests.support.images import encode
from tests.support.paths import ROOT
from training.__main__ import main
from training.data import Split


def command(*arguments: str | Path) -> list[str]:
    """The command line of a process."""
    return [sys.executable, "-m", "training", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """That of a user, without settings of the service."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("DIGITS_")}
    return plain | {"PYTHONPATH": str(ROOT)} | more


def run(folder: Path, *arguments: str | Path, status: int = 0, **more: str) -> str:
    """Run a command in a folder, in a process of its own.

    Returns:
        Its output, errors included.
    """
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == status, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def run_here(folder: Path, *arguments: str | Path, status: int = 0) -> str:
    """The same in this process, where the libraries are imported already."""
    output = io.StringIO()
    assert main_here(folder, [*map(str, arguments)], output, output) == status, output.getvalue()
    return output.getvalue()


def main_here(folder: Path, arguments: list[str], output: TextIO, errors: TextIO) -> int:
    """Run a command in this process and a folder.

    Returns:
        Its status.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        with (
            contextlib.chdir(folder),
            mock.patch.dict(os.environ, environment(), clear=True),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            try:
                return main(arguments)
            except SystemExit as error:  # argparse's, at a mistake
                return int(error.code or 0)
    finally:
        signal.signal(signal.SIGTERM, before)


def rows(text: str) -> list[str]:
    """The lines of Markdown tables without the spaces that align their columns."""
    return [re.sub(r" +", " ", line) for line in text.splitlines()]


def write_archive(path: Path, corrections: list[tuple[Split, bool]]) -> Path:
    """Write an archive of feedback from whole splits, each held out or not."""
    with zipfile.ZipFile(path, "w") as archive:
        lines, number = [], 0
        for split, held_out in corrections:
            for image, label in zip(split.images, split.labels, strict=True):
                number += 1
                archive.writestr(f"seen/{number}.png", encode(image))
                line = {"id": number, "label": int(label), "held_back": held_out, "seen": f"seen/{number}.png"}
                lines.append(json.dumps(line | {"model_version": 1}))
        archive.writestr("feedback.jsonl", "".join(f"{line}\n" for line in lines))
    return path
