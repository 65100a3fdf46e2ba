"""What a reply says of a picture."""

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from app.errors import DigitsError
from app.http import declining, problems
from app.http.metrics import Metrics
from app.inference.live import Live
from app.vision.read import Sight

JSON = "application/json"


def judge(sight: Sight, probabilities: NDArray[np.float32], live: Live, metrics: Metrics) -> declining.Reason | None:
    """Why the answer is not accepted, which is counted; None where it is."""
    reason = declining.reason(sight, probabilities, live.card.threshold)
    if reason:
        metrics.declined(reason)
    return reason


def prediction(live: Live, probabilities: NDArray[np.float32], reason: declining.Reason | None) -> bytes:
    """The whole reply about one picture."""
    return to_json(reading(probabilities, reason) | {"model": model(live)})


def reading(probabilities: NDArray[np.float32], reason: declining.Reason | None) -> dict[str, Any]:
    digit = int(probabilities.argmax())
    return {
        "digit": digit,
        "confidence": probabilities[digit],
        "accepted": reason is None,
        "reason": reason,
        "probabilities": probabilities,
    }


def failure(error: DigitsError) -> dict[str, Any]:
    """In place of a reading, of a picture that cannot be read."""
    return {"error": problems.describe(error).body(str(error))}


def model(live: Live) -> dict[str, Any]:
    return {"name": live.card.name, "version": live.card.version}


def to_json(content: Any) -> bytes:
    """Numpy's float32 in the fewest digits that give the same float32 back."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
