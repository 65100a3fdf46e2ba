"""The shipped version on the real MNIST test set: from image bytes over HTTP to the reply."""

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.registry import store
from tests.support.images import encode
from tests.support.versions import SHIPPED
from training.data import Digits

EACH = 200


def digits(client: httpx.Client, contents: list[bytes]) -> NDArray[np.int64]:
    replies = []
    for start in range(0, len(contents), 1000):
        files = [("file", content) for content in contents[start : start + 1000]]
        reply = client.post("/predict/batch", files=files)
        replies += [entry.get("digit", -1) for entry in reply.raise_for_status().json()["predictions"]]
    return np.array(replies)


def test_accuracy_is_that_of_the_card_to_the_last_image(client: httpx.Client, mnist: Digits) -> None:
    found = digits(client, [encode(image) for image in mnist.test.images])
    correct = int((found == mnist.test.labels).sum())
    assert correct == store.read_manifest(SHIPPED / str(store.current(SHIPPED))).metrics["test"].correct
    assert correct >= 9960


def dark_on_white(image: NDArray[np.uint8]) -> bytes:
    return encode(Image.fromarray(255 - image).resize((280, 280), Image.Resampling.BICUBIC))


def coloured(image: NDArray[np.uint8]) -> bytes:
    share = np.asarray(Image.fromarray(image).resize((200, 200), Image.Resampling.BICUBIC))[..., None] / 255
    return encode(np.rint((1 - share) * (250, 238, 190) + share * (30, 60, 160)).astype(np.uint8))


def with_alpha(image: NDArray[np.uint8]) -> bytes:
    large = np.asarray(Image.fromarray(image).resize((150, 150), Image.Resampling.BICUBIC))
    return encode(np.dstack([np.zeros((150, 150, 3), np.uint8), large]))


def photo(image: NDArray[np.uint8]) -> bytes:
    """A digit on a large page, JPEG, stored lying on its side with the turn in EXIF."""
    page = Image.new("L", (1200, 1600), 255)
    page.paste(Image.fromarray(255 - image).resize((900, 900), Image.Resampling.BICUBIC), (150, 350))
    exif = Image.Exif()
    exif[274] = 6
    return encode(page.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=85)


def inverted(image: NDArray[np.uint8]) -> bytes:
    return encode(255 - image)


@pytest.mark.parametrize("drawn", [dark_on_white, coloured, with_alpha, photo, inverted])
def test_the_same_digits_drawn_otherwise(client: httpx.Client, mnist: Digits, drawn: object) -> None:
    assert callable(drawn)
    images, labels = mnist.test.images[:EACH], mnist.test.labels[:EACH]
    plain = (digits(client, [encode(image) for image in images]) == labels).mean()
    found = [digits(client, [drawn(image)])[0] for image in images]
    accuracy = (np.array(found) == labels).mean()
    print(f"plain {plain:.2%}, drawn otherwise {accuracy:.2%}")
    assert accuracy >= plain - 0.015
