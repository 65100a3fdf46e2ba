"""Decides which answers are accepted, and reads the parameter ``strict``."""

from collections.abc import Sequence

from app.inference.engine import Probabilities
from app.inference.manager import LoadedModel
from app.inference.rejection import RejectionReason, reject
from app.metrics import Metrics


def decide(
    by_picture: Sequence[RejectionReason | None], probabilities: Probabilities, model: LoadedModel, metrics: Metrics
) -> list[RejectionReason | None]:
    """Decide which answers are accepted, and count those that are not.

    Args:
        by_picture: Why preprocessing rejects each picture, or None. It takes precedence over the network's confidence.
        probabilities: float32 (n, 10).
        model: The version that answered, which has the threshold.
        metrics: Counts the rejections.

    Returns:
        For each picture the reason, or None if its answer is accepted.
    """
    by_network = reject(probabilities, model.manifest.threshold)
    reasons = [first or second for first, second in zip(by_picture, by_network, strict=True)]
    for reason in reasons:
        if reason:
            metrics.rejected(reason)
    return reasons
