"""BentoML: a process for each core, with adaptive batches up to 64; no access log, no metrics, no tracing.

A service of its own for the network, which others call, takes twice the processor time a request.
"""

# Its packages are not where types are checked.
# mypy: disable-error-code="import-not-found,untyped-decorator"

from typing import Any

import bentoml
import numpy as np
from PIL.Image import Image

from benchmarks.peers.network import CORES, Network, fit, reply


@bentoml.service(
    workers=CORES,
    traffic={"timeout": 120},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Digits:
    """The network behind an interface that forms batches."""

    def __init__(self) -> None:
        self.network = Network(threads=1)

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=10_000)
    def predict(self, file: list[Image]) -> list[dict[str, Any]]:
        """Read a batch; BentoML gives every caller one entry."""
        return [reply(row) for row in self.network(np.stack([fit(image) for image in file]))]
