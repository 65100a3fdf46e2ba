"""What calls do with answers that are not accepted."""

from collections.abc import Sequence

from app.inference.engine import Probabilities
from app.inference.manager import LoadedModel
from app.inference.rejection import RejectionReason, reject
from app.metrics import Metrics


def decide(
    on_picture: Sequence[RejectionReason | None], probabilities: Probabilities, model: LoadedModel, metrics: Metrics
) -> list[RejectionReason | None]:
    """Decide which answers are accepted, and count those that are not.

    Args:
        on_picture: Why each picture is rejected before the network is asked, which comes first.
        probabilities: What the network answers, float32 (n, 10).
        model: The version that answered, with its threshold.
        metrics: Counts rejections.

    Returns:
        A reason for each picture, None where its answer is accepted.
    """
    by_network = reject(probabilities, model.manifest.threshold)
    reasons = [first or second for first, second in zip(on_picture, by_network, strict=True)]
    for reason in reasons:
        if reason:
            metrics.rejected(reason)
    return reasons
