"""One network in one runtime, behind a small interface."""

import functools
import hashlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import ModelError
from training.versions import GRAPH, KERAS, WEIGHTS, Version

_CONVERTER = "openvino.tools.ovc"

Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


class Engine(ABC):
    """A network ready to run. Not for use by two threads at once.

    One that looks twice at some images can be asked step by step: a glance at all, and those of which it is unsure one
    by one.
    """

    @abstractmethod
    def predict(self, images: Images) -> Probabilities:
        """uint8 (n, 28, 28), ground 0 and ink up to 255, to float32 (n, 10) softmax probabilities."""

    def glance(self, images: Images) -> Probabilities:
        """The same without a second look."""
        return self.predict(images)

    def unsure(self, glance: Probabilities) -> list[int]:
        """Places of the answers that want a second look."""
        return []

    def look_again(self, image: Images) -> Probabilities:
        """The answer for an image, (28, 28), that wants a second look: (10,)."""
        answer: Probabilities = self.predict(image[None])[0]
        return answer


class Graph:
    """A version's network as the runtime reads it from its files, of which several engines may be made."""

    def __init__(self, version: Version) -> None:
        """Raises ModelError when the graph was not made from this ``model.keras`` or cannot be loaded.

        The files are read once, and it is these bytes that are compared with their digests and run. So nothing
        that happens to the files meanwhile, or afterwards, can get into what serves; given paths, the runtime
        would map the weights instead of reading them.
        """
        self.card, self.path = version.card, version.path / GRAPH
        try:
            self._graph = runtime().read_model(*(_read(version, name) for name in (GRAPH, WEIGHTS)))
            source = str(self._graph.get_rt_info(["digits", "source_sha256"]).value)
        except RuntimeError as error:
            raise ModelError(f"{self.path}: {_last_line(error)}") from None
        if source != version.card.files[KERAS]:
            raise ModelError(
                f"{self.path}: it was made from another {KERAS}; make it again with `python -m training export`"
            )

    def giving(self, output: str | None) -> Any:
        """The part of it that gives one of its outputs, FIRST_OUTPUT or SCOUT_OUTPUT; the version's answer with None,
        and where it has no such output.
        """
        import openvino

        answer, *others = self._graph.get_results()
        named = {result.get_friendly_name(): result for result in others}
        return openvino.Model([named.get(output, answer)], self._graph.get_parameters())


class OpenVinoEngine(Engine):
    """A version's network in OpenVINO on the CPU, as exact as its file has it: in float32, or in part in 8 bits.

    The runtime's own choice on recent processors is bfloat16, which makes the same image score differently on another
    machine, by 1e-3 and more. Whole numbers of 8 bits give the same everywhere, but for 3e-4 at most where a processor
    has no instructions for them (AVX2, and AVX-512 without VNNI).
    """

    # Each new batch size costs the runtime a preparation of a millisecond and more. These are all prepared at the
    # start, so that no run is padded. On a core without matrix units an image costs the same in a batch of 8 as in
    # one of 64, and one run of 16 is as long as a lone image should have to wait.
    MOST = 16

    def __init__(
        self, graph: Graph, threads: int, sizes: Iterable[int] = range(1, MOST + 1), *, output: str | None = None
    ) -> None:
        """sizes: the batches that are prepared; all others are made up of these. output: not the whole version, but
        what its first member or its scout says; in 8 bits, see ``training/quantise.py``.

        Raises ModelError when the runtime cannot prepare it.
        """
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            # Pinned, the threads of every process would go to the same cores, the first ones.
            "ENABLE_CPU_PINNING": False,
        }
        self._path = graph.path
        try:
            self._compiled = runtime().compile_model(graph.giving(output), "CPU", options)
            self._runs = {size: self._prepare(size) for size in sizes}
        except RuntimeError as error:
            raise ModelError(f"{self._path}: {_last_line(error)}") from None

    def warm(self) -> None:
        """Run every batch size once, so that no request pays for preparing it.

        Raises ModelError when what comes out is not ten probabilities an image.
        """
        for size in self._runs:
            try:
                probabilities = self.predict(np.zeros((size, 28, 28), np.uint8))
            except RuntimeError as error:
                raise ModelError(f"{self._path}: {_last_line(error)}") from None
            if probabilities.shape != (size, 10) or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3):
                raise ModelError(f"{self._path}: it does not give ten probabilities an image")

    def predict(self, images: Images) -> Probabilities:
        """See Engine. Takes any number of images that the sizes can make up, the largest first."""
        if len(images) in self._runs:
            return self._run(images)
        rows = np.empty((len(images), 10), np.float32)
        start = 0
        while start < len(images):
            size = max(size for size in self._runs if size <= len(images) - start)
            rows[start : start + size] = self._run(images[start : start + size])
            start += size
        return rows

    def _prepare(self, size: int) -> tuple[Any, Images]:
        """A request for batches of this size, and the buffer that it reads."""
        import openvino

        buffer = np.zeros((size, 28, 28, 1), np.uint8)
        request = self._compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(buffer, shared_memory=True))
        return request, buffer

    def _run(self, images: Images) -> Probabilities:
        request, buffer = self._runs[len(images)]
        buffer[..., 0] = images
        probabilities: Probabilities = request.infer()[0]  # a copy: the next run writes over the runtime's own
        return probabilities


@functools.cache
def runtime() -> Any:
    """The runtime, once and for as long as the process lives.

    It gives the thread that starts it a stack for signals and takes that away when its last user lets go. Where that
    happens in another thread, as when a version makes way for the next, the first is left with a stack that is
    gone, and the next signal, such as SIGTERM, ends the process with a fault of segmentation.
    """
    # Its converter of other programs' files, without which it does where that is missing, is most of its import.
    missing = sys.modules.setdefault(_CONVERTER, None) is None  # type: ignore[arg-type]  # as the import system has it
    # Imported here: this takes a twentieth of a second that tests of other parts need not spend.
    import openvino

    if missing:
        del sys.modules[_CONVERTER]
    return openvino.Core()


def _read(version: Version, name: str) -> bytes:
    path = version.path / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {(error.strerror or 'it cannot be read').lower()}") from None
    if hashlib.sha256(content).hexdigest() != version.card.files[name]:
        raise ModelError(f"{path}: it changed while it was loaded")
    return content


def _last_line(error: RuntimeError) -> str:
    """The reason; the lines before it are places in the runtime's sources."""
    return str(error).strip().splitlines()[-1]
