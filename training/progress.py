"""Shows how far a training is."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich import progress as rich_progress
from rich.console import Console

from app.retraining.progress import Progress

SECONDS_BETWEEN_LINES = 0.5


@contextlib.contextmanager
def progress_bar(stream: TextIO | None = None) -> Iterator[Callable[[Progress], None]]:
    """Show a bar on a terminal, and one line an epoch there and elsewhere.

    Args:
        stream: default: standard error.

    Yields:
        A function that takes the progress.
    """
    console = Console(file=stream or sys.stderr, soft_wrap=True)
    columns = "{task.description}", rich_progress.BarColumn(None), "{task.fields[left]}", "{task.fields[figures]}"
    shown = console.is_terminal
    with rich_progress.Progress(*columns, console=console, disable=not shown, transient=True, expand=True) as bar:
        task = bar.add_task("", left="", figures="")

        def report(step: Progress) -> None:
            if step.epoch_ended:
                console.print(str(step), markup=False, highlight=False)
            minutes, seconds = divmod(round(step.seconds_left), 60)
            bar.update(
                task,
                description=f"epoch {step.epoch}/{step.epochs}",
                completed=step.batch,
                total=step.batches,
                left=f"{minutes}:{seconds:02d} left",
                figures=f"loss {step.loss:.4f} accuracy {step.accuracy:.2%}",
            )

        yield report


class JsonLines:
    """Writes progress for another program: a line of JSON at every epoch's end, and at most two a second between."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.written = -math.inf

    def __call__(self, progress: Progress) -> None:
        if progress.epoch_ended or time.monotonic() - self.written >= SECONDS_BETWEEN_LINES:
            self.written = time.monotonic()
            print(progress.to_json(), file=self.stream, flush=True)
