"""MLServer: a runtime of our own whose handler takes the form; the network on all cores.

In the one process that reads requests (``parallel_workers`` 0): a queue to another process costs more than the
network. Adaptive batching needs ``predict`` and its tensors, which a custom handler does not use; it would also wait.
Metrics, compression and the access log are off (settings.json).
"""

# Its packages are not where types are checked.
# mypy: disable-error-code="import-not-found,misc,untyped-decorator"

from typing import Annotated, Any

from fastapi import File
from mlserver import MLModel
from mlserver.handlers import custom_handler

from benchmarks.peers.network import CORES, Network, read, reply


class Digits(MLModel):
    """The network as MLServer knows a model."""

    async def load(self) -> bool:
        """Load it; true when it is ready."""
        self.network = Network(threads=CORES)
        return True

    @custom_handler(rest_path="/predict")
    async def read_digit(self, file: Annotated[bytes, File()]) -> dict[str, Any]:
        """Read one digit."""
        return reply(self.network(read(file)[None])[0])
