"""What a reply says of a picture."""

from collections.abc import Sequence
from typing import Any

import orjson

from app.errors import DigitsError
from app.http import declining, problems
from app.http.metrics import Metrics
from app.inference.engine import Probabilities
from app.inference.live import Live
from app.vision.read import Doubt

JSON = "application/json"


def judge(
    seen: Sequence[Doubt | None], rows: Probabilities, live: Live, metrics: Metrics
) -> list[declining.Reason | None]:
    """Why the answers are not accepted, which is counted; None where one is. seen, rows: a picture's each."""
    reasons = declining.reasons(seen, rows, live.card.threshold)
    for reason in reasons:
        if reason:
            metrics.declined(reason)
    return reasons


def readings(rows: Probabilities, reasons: Sequence[declining.Reason | None]) -> list[dict[str, Any]]:
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


def prediction(live: Live, reading: dict[str, Any]) -> bytes:
    """The whole reply about one picture."""
    return to_json(reading | {"model": model(live)})


def failure(error: DigitsError) -> dict[str, Any]:
    """In place of a reading, of a picture that cannot be read."""
    return {"error": problems.describe(error).body(str(error))}


def model(live: Live) -> dict[str, Any]:
    return {"name": live.card.name, "version": live.card.version}


def to_json(content: Any) -> bytes:
    """Numpy's float32 in the fewest digits that give the same float32 back."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
