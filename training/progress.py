"""How far a training has come. Standard library only: the service reads these messages too."""

import sys
import time
from dataclasses import dataclass
from typing import TextIO

BAR = 24


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
        text = (
            f"epoch {self.epoch}/{self.epochs} [{'=' * done}{' ' * (BAR - done)}] {self.batch}/{self.batches} "
            f"loss {self.loss:.4f} accuracy {self.accuracy:.2%}"
        )
        if self.val_accuracy is not None:
            text += f" | validation loss {self.val_loss:.4f} accuracy {self.val_accuracy:.2%}"
        minutes, seconds = divmod(round(self.seconds_left), 60)
        return f"{text} | {minutes}:{seconds:02d} left"


class ProgressBar:
    """Prints progress: one line that rewrites itself on a terminal, one line an epoch elsewhere."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self.stream = stream
        self.drawn = 0.0

    def __call__(self, progress: Progress) -> None:
        if self.stream.isatty():
            if progress.epoch_ended or time.monotonic() - self.drawn > 0.1:
                self.drawn = time.monotonic()
                self.stream.write(f"\r\033[K{progress}" + ("\n" if progress.epoch_ended else ""))
                self.stream.flush()
        elif progress.epoch_ended:
            print(progress, file=self.stream, flush=True)
