"""What a reply says of a picture."""

from collections.abc import Sequence
from typing import Any

import orjson

from app.api import problems
from app.errors import DigitsError
from app.inference.engine import Probabilities
from app.inference.manager import LoadedModel
from app.inference.rejection import RejectionReason

JSON = "application/json"


def readings(rows: Probabilities, reasons: Sequence[RejectionReason | None]) -> list[dict[str, Any]]:
    """What the reply says of each picture; of all at once, which for a batch takes a third of the time."""
    return [
        {
            "digit": digit,
            "confidence": confidence,
            "accepted": reason is None,
            "reason": reason,
            "probabilities": row,
        }
        for digit, confidence, reason, row in zip(
            rows.argmax(axis=1).tolist(), rows.max(axis=1), reasons, rows, strict=True
        )
    ]


def prediction(model: LoadedModel, reading: dict[str, Any]) -> bytes:
    """The whole reply about one picture."""
    return to_json(reading | {"model": model_name(model)})


def failure(error: DigitsError) -> dict[str, Any]:
    """In place of a reading, of a picture that cannot be read."""
    return {"error": problems.describe(error).body(str(error))}


def model_name(model: LoadedModel) -> dict[str, Any]:
    """Which version answered."""
    return {"name": model.manifest.name, "version": model.manifest.version}


def to_json(content: Any) -> bytes:
    """Numpy's float32 in the fewest digits that give the same float32 back."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
