"""Shows how far a training is."""

import math
import os
import sys
import time
from typing import TextIO

from app.retraining.progress import Progress

SECONDS_BETWEEN_LINES = 0.5


class ProgressBar:
    """Prints progress: one line that rewrites itself on a terminal, one line an epoch elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr  # as it is now, not as it was when this was read
        self.drawn = 0.0

    def __call__(self, progress: Progress) -> None:
        if self.stream.isatty():
            if progress.epoch_ended or time.monotonic() - self.drawn > 0.1:
                self.drawn = time.monotonic()
                # A line that wraps would not be rewritten; an epoch's last may be as long as it is.
                text = str(progress) if progress.epoch_ended else str(progress)[: self._columns() - 1]
                self.stream.write(f"\r\033[K{text}" + ("\n" if progress.epoch_ended else ""))
                self.stream.flush()
        elif progress.epoch_ended:
            print(progress, file=self.stream, flush=True)

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self.stream.fileno()).columns or 80
        except OSError:
            return 80


class JsonLines:
    """Writes progress for another program: a line of JSON at every epoch's end, and at most two a second between."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.written = -math.inf

    def __call__(self, progress: Progress) -> None:
        if progress.epoch_ended or time.monotonic() - self.written >= SECONDS_BETWEEN_LINES:
            self.written = time.monotonic()
            print(progress.to_json(), file=self.stream, flush=True)
