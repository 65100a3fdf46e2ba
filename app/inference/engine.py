"""Runs one network with OpenVINO."""

import functools
import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import ModelError
from app.registry import format1
from app.registry.store import GRAPH, KERAS, WEIGHTS, Version

Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


class Graph:
    """The network of a version in OpenVINO's format. Several engines can be compiled from it.

    Attributes:
        manifest: The version's manifest.
        path: The file of the graph, for messages.
    """

    def __init__(self, version: Version) -> None:
        """Read the files, compare their bytes with the digests of the manifest, and parse the same bytes.

        Given a path, OpenVINO would map the file into memory, and a later change of it would change the network.

        Args:
            version: The version, with verified files.

        Raises:
            ModelError: The graph was not exported from this ``model.keras``, or it cannot be read.
        """
        self.manifest, self.path = version.manifest, version.path / GRAPH
        try:
            self._graph = runtime().read_model(*(_read(version, name) for name in (GRAPH, WEIGHTS)))
            source = str(self._graph.get_rt_info(["digits", "source_sha256"]).value)
        except RuntimeError as error:
            raise ModelError(f"{self.path}: {_last_line(error)}") from None
        if source != version.manifest.files[KERAS]:
            raise ModelError(f"{self.path}: it was made from another {KERAS}; run `python -m training export` again")

    def part(self, output: str | None) -> Any:
        """Return the part of the graph that computes one output, as an OpenVINO model.

        Args:
            output: FIRST_NETWORK_OUTPUT or FIRST_STAGE_OUTPUT. None, or an output that the graph lacks, gives the
                whole ensemble.
        """
        import openvino

        ensemble, *others = self._graph.get_results()
        by_name = {result.get_friendly_name(): result for result in others}
        result = by_name.get(output) or by_name.get(format1.OUTPUTS.get(output or ""), ensemble)
        return openvino.Model([result], self._graph.get_parameters())


class OpenVinoEngine:
    """A network, compiled for the CPU. Two threads must not use it at once.

    It computes in float32, or in int8 if the graph is quantised. OpenVINO's default on recent processors is bfloat16,
    which changes probabilities by 1e-3 and more from one machine to another.
    """

    # OpenVINO needs a millisecond and more for each new batch size, so all are prepared at the start. On a core without
    # matrix units, an image takes the same time in a batch of 8 as in one of 64.
    MAX_BATCH_SIZE = 16

    def __init__(
        self,
        graph: Graph,
        threads: int,
        batch_sizes: Iterable[int] = range(1, MAX_BATCH_SIZE + 1),
        *,
        output: str | None = None,
    ) -> None:
        """Compile the network and run each batch size once.

        Args:
            graph: The version's network.
            threads: Threads of one run.
            batch_sizes: Batch sizes to prepare. Batches of other sizes are split into these.
            output: See ``Graph.part``.

        Raises:
            ModelError: OpenVINO cannot compile the network, or it does not give ten probabilities an image.
        """
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # pinned threads of all processes would share the first cores
        }
        try:
            self._compiled = runtime().compile_model(graph.part(output), "CPU", options)
            self._requests = {size: self._request(size) for size in batch_sizes}
            for size in self._requests:
                probabilities = self.predict(np.zeros((size, 28, 28), np.uint8))
                if probabilities.shape != (size, 10) or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
                    raise ModelError(f"{graph.path}: it does not give ten probabilities an image")
        except RuntimeError as error:
            raise ModelError(f"{graph.path}: {_last_line(error)}") from None

    def predict(self, images: Images) -> Probabilities:
        """Compute the probabilities of images.

        Args:
            images: uint8 (n, 28, 28), background 0, foreground up to 255.

        Returns:
            float32 (n, 10), softmax probabilities.
        """
        if len(images) in self._requests:
            return self._run(images)
        rows = np.empty((len(images), 10), np.float32)
        start = 0
        while start < len(images):
            size = max(size for size in self._requests if size <= len(images) - start)
            rows[start : start + size] = self._run(images[start : start + size])
            start += size
        return rows

    def _request(self, size: int) -> tuple[Any, Images]:
        """Create an infer request for batches of this size, and the buffer that it reads."""
        import openvino

        buffer = np.zeros((size, 28, 28, 1), np.uint8)
        request = self._compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(buffer, shared_memory=True))
        return request, buffer

    def _run(self, images: Images) -> Probabilities:
        request, buffer = self._requests[len(images)]
        buffer[..., 0] = images
        probabilities: Probabilities = request.infer()[
            0
        ]  # OpenVINO returns a copy, which the next run does not overwrite
        return probabilities


@functools.cache
def runtime() -> Any:
    """Return the only OpenVINO Core of this process. The first call must be on the main thread.

    Core installs a signal stack on the thread that creates it. If another thread frees it, the next signal crashes.
    """
    # Imported here, since the import takes 0.1 seconds.
    import openvino

    return openvino.Core()


def _read(version: Version, name: str) -> bytes:
    """Read an artifact and compare it with its digest once more."""
    path = version.path / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {(error.strerror or 'it cannot be read').lower()}") from None
    if hashlib.sha256(content).hexdigest() != version.manifest.files[name]:
        raise ModelError(f"{path}: the file changed while it was loaded")
    return content


def _last_line(error: RuntimeError) -> str:
    """Return the reason. The lines before it name places in OpenVINO's source code."""
    return str(error).strip().splitlines()[-1]
