"""One network in OpenVINO."""

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
    """The network of a version as OpenVINO reads it from the version's files; several engines can be made of it."""

    def __init__(self, version: Version) -> None:
        """Read the files once, compare their bytes with the digests of the card, and parse these very bytes.

        OpenVINO would map the weights from a path, so a file that changes later would change what serves.

        Raises:
            ModelError: The graph was not made from this ``model.keras``, or it cannot be parsed.
        """
        self.manifest, self.path = version.manifest, version.path / GRAPH
        try:
            self._graph = runtime().read_model(*(_read(version, name) for name in (GRAPH, WEIGHTS)))
            source = str(self._graph.get_rt_info(["digits", "source_sha256"]).value)
        except RuntimeError as error:
            raise ModelError(f"{self.path}: {_last_line(error)}") from None
        if source != version.manifest.files[KERAS]:
            raise ModelError(
                f"{self.path}: it was made from another {KERAS}; make it again with `python -m training export`"
            )

    def part(self, output: str | None) -> Any:
        """The part of the graph that computes one output.

        Args:
            output: FIRST_NETWORK_OUTPUT or FIRST_STAGE_OUTPUT. None, or one that the graph lacks, is the whole version.
        """
        import openvino

        answer, *others = self._graph.get_results()
        named = {result.get_friendly_name(): result for result in others}
        found = named.get(output) or named.get(format1.OUTPUTS.get(output or ""), answer)
        return openvino.Model([found], self._graph.get_parameters())


class OpenVinoEngine:
    """A network that is ready to run on the CPU. Not for use by two threads at once.

    It computes in float32, or in int8 where its file says so. OpenVINO's own choice on recent processors is bfloat16,
    which changes probabilities by 1e-3 and more from one machine to another.
    """

    # Each new batch size costs OpenVINO a millisecond and more, so they are prepared at the start. On a core without
    # matrix units an image costs the same in a batch of 8 as in one of 64.
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
            batch_sizes: Sizes that are prepared. Others are made up of these.
            output: See ``Graph.part``.

        Raises:
            ModelError: OpenVINO cannot compile it, or it does not give ten probabilities an image.
        """
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # or the threads of every process share the first cores
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
        """An infer request for batches of this size, and the buffer that it reads."""
        import openvino

        buffer = np.zeros((size, 28, 28, 1), np.uint8)
        request = self._compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(buffer, shared_memory=True))
        return request, buffer

    def _run(self, images: Images) -> Probabilities:
        request, buffer = self._requests[len(images)]
        buffer[..., 0] = images
        probabilities: Probabilities = request.infer()[0]  # a copy: the next run overwrites OpenVINO's own
        return probabilities


@functools.cache
def runtime() -> Any:
    """The only OpenVINO Core of this process. Call it first on the main thread.

    Core installs a signal stack on the thread that creates it. If another thread frees it, the next signal crashes.
    """
    # Imported here, because it takes a tenth of a second.
    import openvino

    return openvino.Core()


def _read(version: Version, name: str) -> bytes:
    path = version.path / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {(error.strerror or 'it cannot be read').lower()}") from None
    if hashlib.sha256(content).hexdigest() != version.manifest.files[name]:
        raise ModelError(f"{path}: it changed while it was loaded")
    return content


def _last_line(error: RuntimeError) -> str:
    """The reason. The lines before it are places in OpenVINO's sources."""
    return str(error).strip().splitlines()[-1]
