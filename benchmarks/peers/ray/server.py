"""Ray Serve: one replica with batches of what has arrived, up to 64; tuned for throughput, no access log.

Requests go straight to the port of the replica ("direct ingress"), which its documentation means for a load
balancer before many. Through Ray's own proxy the same replica answers a fifth as many a second. The dashboard is off.
"""

# Its packages are not where types are checked.
# mypy: disable-error-code="import-not-found,untyped-decorator,attr-defined"

import os
import signal
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse

from benchmarks.peers.network import Network, read, reply

QUIET = {"enable_access_log": False, "log_level": "ERROR"}


@serve.deployment(num_replicas=1, max_ongoing_requests=1000, logging_config=QUIET)
class Digits:
    """The network as a deployment."""

    def __init__(self) -> None:
        self.network = Network(threads=1)

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0)
    async def predict(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """See Network."""
        return list(self.network(np.stack(images)))

    async def __call__(self, request: Request) -> JSONResponse:
        """Read one digit."""
        form: Any = await request.form()
        return JSONResponse(reply(await self.predict(read(await form["file"].read()))))


if __name__ == "__main__":
    ray.init(include_dashboard=False, log_to_driver=False, _temp_dir=os.environ["SCRATCH"])
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PROXY_PORT"])}, logging_config=QUIET)
    serve.run(Digits.bind(), route_prefix="/predict", logging_config=QUIET)
    signal.pause()
