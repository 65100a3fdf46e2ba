"""The way from pictures to answers for protocols in which one picture that cannot be read fails the call."""

import numpy as np
from starlette.requests import Request

from app.api.predictions import Yielder, read_batch, read_picture, run_network
from app.api.rejections import decide
from app.api.uploads import Pixels, Upload
from app.errors import DigitsError
from app.inference.engine import Probabilities
from app.inference.manager import LoadedModel
from app.inference.rejection import RejectionReason
from app.services import Services
from app.vision.image_ops import UInt8Image


async def predict_many(
    request: Request, services: Services, model: LoadedModel, uploads: list[Upload | DigitsError] | UInt8Image
) -> tuple[Probabilities, list[RejectionReason | None]]:
    """Preprocess pictures, run the network and decide which answers are accepted.

    Args:
        request: The request; if its client disconnects, work that waits is not done.
        services: The services of the app.
        model: The version to use.
        uploads: At least one picture; or images, uint8 (n, 28, 28).

    Returns:
        The probabilities, float32 (n, 10), and for each picture why its answer is rejected, or None.

    Raises:
        ImageError: A picture cannot be read; if there are several, the text says which one.
        Overloaded, TooLate, ClientDisconnect: See ``run_network``.
    """
    if len(uploads) == 1:
        upload = Pixels(uploads[0]) if isinstance(uploads, np.ndarray) else uploads[0]
        if isinstance(upload, DigitsError):
            raise upload
        picture = await read_picture(request, services, upload)
        images, reasons = picture.image[None], [picture.reason]
    else:
        with Yielder(request) as yielder:
            images, outcomes = await read_batch(request, services, uploads, yielder)
        reasons = []
        for index, outcome in enumerate(outcomes):
            if isinstance(outcome, DigitsError):
                raise type(outcome)(f"picture {index}: {outcome}")
            reasons.append(outcome)
    rows = await run_network(request, services, model, images)
    return rows, decide(reasons, rows, model, services.metrics)
