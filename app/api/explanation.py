"""What a reply says of how an answer came about."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.retraining.feedback import png
from app.vision.pipeline import PreprocessedImage, bounding_box


def explanation(picture: PreprocessedImage, attribution: NDArray[np.float32]) -> dict[str, Any]:
    """The explanation of one answer, as the reply has it.

    Args:
        picture: What the network was given.
        attribution: How much each pixel of that spoke for the answer, float32 (28, 28) from -1 to 1.
    """
    return {
        "seen": "data:image/png;base64," + base64.b64encode(png(picture.image)).decode(),
        "box": picture.box or bounding_box(picture.image > 0),  # a 28x28 picture may go to the network as it is
        "attribution": np.round(attribution, 3),
    }
