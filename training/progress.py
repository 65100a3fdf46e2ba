"""How far a training has come. Standard library only: the service reads these messages too."""

import os
import sys
import time
from dataclasses import dataclass
from typing import TextIO

BAR = 16


@dataclass(frozen=True)
class Progress:
    """One step of a training: ``epoch`` and ``batch`` count from 1; seconds_left covers all epochs."""

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float
    accuracy: float
    seconds_left: float
    val_loss: float | None = None
    val_accuracy: float | None = None

    @property
    def epoch_ended(self) -> bool:
        return self.batch == self.batches

    def __str__(self) -> str:
        done = BAR * self.batch // self.batches
        minutes, seconds = divmod(round(self.seconds_left), 60)
        text = (
            f"epoch {self.epoch}/{self.epochs} [{'=' * done}{' ' * (BAR - done)}] {minutes}:{seconds:02d} left | "
            f"loss {self.loss:.4f} accuracy {self.accuracy:.2%}"
        )
        if self.val_accuracy is not None:
            text += f" | validation loss {self.val_loss:.4f} accuracy {self.val_accuracy:.2%}"
        return text


class ProgressBar:
    """Prints progress: one line that rewrites itself on a terminal, one line an epoch elsewhere."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self.stream = stream
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
