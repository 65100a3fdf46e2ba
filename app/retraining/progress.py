"""The progress of a training, in lines that ``python -m training fit --progress json`` writes and the worker reads."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

BAR_WIDTH = 16


@dataclass(frozen=True)
class Progress:
    """The progress of a training after a batch.

    Attributes:
        epoch: Number of the epoch, from 1.
        epochs: Number of all epochs.
        batch: Number of the batch in the epoch, from 1.
        batches: Number of batches in an epoch.
        loss: Mean training loss of the epoch so far.
        accuracy: Training accuracy of the epoch so far.
        seconds_left: Estimated time until the end of the last epoch.
        val_loss: Validation loss, at the end of an epoch.
        val_accuracy: Validation accuracy, at the end of an epoch.
    """

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
        """Whether this was the last batch of its epoch."""
        return self.batch == self.batches

    def to_json(self) -> str:
        """Return one line of JSON. A loss that is not finite is null."""
        values = dataclasses.asdict(self)
        return json.dumps({name: value if _finite(value) else None for name, value in values.items()})

    @staticmethod
    def from_json(line: str | bytes) -> "Progress":
        """Parse a line that ``to_json`` wrote.

        Raises:
            ValueError: It is any other line.
        """
        try:
            values = json.loads(line)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if not isinstance(values, dict) or set(values) != {field.name for field in dataclasses.fields(Progress)}:
            raise ValueError("its fields are not those of Progress")
        for name in ("loss", "accuracy", "seconds_left"):
            values[name] = _number(math.nan if values[name] is None else values[name], name)
        for name in ("val_loss", "val_accuracy"):
            values[name] = None if values[name] is None else _number(values[name], name)
        for name, most in (("epoch", "epochs"), ("batch", "batches")):
            if type(values[name]) is not int or type(values[most]) is not int or not 1 <= values[name] <= values[most]:
                raise ValueError(f"its {name} is {values[name]!r:.20} of {values[most]!r:.20}")
        return Progress(**values)

    def __str__(self) -> str:
        done = BAR_WIDTH * self.batch // self.batches
        minutes, seconds = divmod(round(self.seconds_left), 60)
        text = (
            f"epoch {self.epoch}/{self.epochs} [{'=' * done}{' ' * (BAR_WIDTH - done)}] {minutes}:{seconds:02d} left | "
            f"loss {self.loss:.4f} accuracy {self.accuracy:.2%}"
        )
        if self.val_accuracy is not None:
            text += f" | validation loss {self.val_loss:.4f} accuracy {self.val_accuracy:.2%}"
        return text


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _number(value: Any, name: str) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"its {name} is {value!r:.20}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"its {name} is too large") from None
