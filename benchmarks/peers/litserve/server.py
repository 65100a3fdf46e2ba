"""LitServe: batches of what has arrived, up to 64, without waiting for more; queues of ZeroMQ; no access log.

One process reads requests and one runs the network: with a third process
there are more processes than cores, and fewer replies.
"""

# Its packages are not where types are checked.
# mypy: disable-error-code="import-not-found,misc"

import os
from typing import Any

import litserve
import numpy as np
from fastapi import Request
from numpy.typing import NDArray

from benchmarks.peers.network import Network, read, reply


class Digits(litserve.LitAPI):
    """The steps from a form to a reply, as LitServe calls them."""

    def setup(self, device: str) -> None:
        """Load the network, in the process that runs it."""
        self.network = Network(threads=1)

    def decode_request(self, request: Request) -> NDArray[np.uint8]:
        """The picture in the form. LitServe passes the form here, although the parameter asks for a request."""
        form: Any = request
        return read(form["file"].file.read())

    def batch(self, inputs: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """Pictures to one array."""
        return np.stack(inputs)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See Network."""
        return self.network(images)

    def unbatch(self, output: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """An array to one result a picture."""
        return list(output)

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, Any]:
        """One result to one reply."""
        return reply(output)


if __name__ == "__main__":
    server = litserve.LitServer(
        Digits(max_batch_size=64, batch_timeout=0.0),
        accelerator="cpu",
        workers_per_device=1,
        fast_queue=True,
        timeout=120,
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
