"""One network in one runtime, behind a small protocol."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.errors import ModelError
from training.versions import GRAPH, KERAS, Version

Images = NDArray[np.uint8]
Probabilities = NDArray[np.float32]


class Engine(Protocol):
    """A network ready to run. Not for use by two threads at once."""

    def predict(self, images: Images) -> Probabilities:
        """uint8 (n, 28, 28), ground 0 and ink up to 255, to float32 (n, 10) softmax probabilities."""
        ...


class OpenVinoEngine:
    """A version's network in OpenVINO on the CPU, in float32.

    Float32 on purpose: the runtime's own choice on recent processors is bfloat16, which moves
    probabilities by 1e-3 and more and makes the same image score differently on another machine.
    """

    # Each new batch size costs the runtime a preparation of a millisecond and more, so images are padded to one
    # of few sizes, all of them prepared at the start.
    SIZES = (1, 2, 4, 8, 16, 32, 64)

    def __init__(self, version: Version, threads: int) -> None:
        """Raises ModelError when the graph was not made from this ``model.keras`` or cannot be loaded."""
        # Imported here: this takes a fifth of a second that tests of other parts need not spend.
        import openvino

        path = version.path / GRAPH
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        core = openvino.Core()
        try:
            graph = core.read_model(path)
            source = str(graph.get_rt_info(["digits", "source_sha256"]).value)
            self._compiled = core.compile_model(graph, "CPU", options)
        except RuntimeError as error:
            raise ModelError(f"{path}: {str(error).strip().splitlines()[-1]}") from None
        if source != version.card.files[KERAS]:
            raise ModelError(
                f"{path}: it was made from another {KERAS}; make it again with `python -m training export`"
            )
        self._request = self._compiled.create_infer_request()

    def warm(self) -> None:
        """Run every batch size once, so that no request pays for preparing it."""
        for size in self.SIZES:
            self.predict(np.zeros((size, 28, 28), np.uint8))

    def predict(self, images: Images) -> Probabilities:
        """See Engine. Takes any number of images, in runs of at most 64."""
        most = self.SIZES[-1]
        runs = [self._run(images[start : start + most]) for start in range(0, len(images), most)]
        return runs[0] if len(runs) == 1 else np.concatenate(runs)

    def _run(self, images: Images) -> Probabilities:
        count = len(images)
        size = next(size for size in self.SIZES if size >= count)
        batch = np.zeros((size, 28, 28, 1), np.uint8)
        batch[:count, :, :, 0] = images
        probabilities: Probabilities = self._request.infer({0: batch}, share_inputs=True)[0]
        return probabilities[:count].copy()  # the runtime writes the next result over this one
