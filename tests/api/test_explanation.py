"""``POST /predict?explain=true``: what the network sees, where it is, and which pixels spoke for the answer."""

import base64
import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.calls import check
from tests.support.images import SEVEN, draw, encode
from tests.support.paths import IMAGES


def explained(client: httpx.Client, content: bytes) -> dict[str, Any]:
    """The reply about a picture, with its explanation."""
    reply = client.post("/predict?explain=true", files={"file": content})
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return body


def seen(explanation: dict[str, Any]) -> np.ndarray[Any, Any]:
    """What the network was given."""
    with Image.open(io.BytesIO(base64.b64decode(explanation["seen"].removeprefix("data:image/png;base64,")))) as image:
        return np.asarray(image)


def test_all_else_of_the_reply_is_the_same(client: httpx.Client) -> None:
    for name in ("seven.png", "three.jpg", "several.png"):
        content = (IMAGES / name).read_bytes()
        plain = client.post("/predict", files={"file": content}).json()
        found = explained(client, content)
        assert set(found.pop("explanation")) == {"seen", "box", "attribution"}
        assert found == plain
    assert "explanation" not in client.post("/predict?explain=0", files={"file": SEVEN}).json()


def test_an_image_like_mnist_is_seen_as_it_is(client: httpx.Client) -> None:
    image = np.asarray(Image.open(io.BytesIO(SEVEN)))
    found = explained(client, SEVEN)["explanation"]
    assert np.array_equal(seen(found), image)
    rows, columns = np.nonzero(image)
    width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
    assert found["box"] == [columns.min(), rows.min(), width, height]


def test_only_the_digit_itself_speaks(client: httpx.Client) -> None:
    found = explained(client, SEVEN)["explanation"]
    attribution = np.array(found["attribution"])
    assert attribution.shape == (28, 28)
    assert np.abs(attribution).max() == 1
    assert not attribution[seen(found) == 0].any()


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    ("size", "place", "side"),
    [
        ((300, 300), (20, 150), 120),
        ((1600, 900), (1100, 500), 300),
        ((3000, 4000), (1800, 2900), 900),
        ((1200, 1600), (250, 1300), 90),  # so small that it is looked at more closely
    ],
)
def test_the_box_is_where_the_digit_was_drawn(
    client: httpx.Client, kind: str, size: tuple[int, int], place: tuple[int, int], side: int
) -> None:
    paper = Image.new("L", size, 235)
    paper.paste(draw(4, (side, side), 235, 30, 0.07, "L", 0.8), place)
    rows, columns = np.nonzero(np.asarray(paper) < 130)
    drawn = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
    box = explained(client, encode(paper, kind))["explanation"]["box"]
    assert box == pytest.approx(drawn, abs=0.06 * side + max(size) / 200)


def test_the_box_is_on_the_upright_picture(client: httpx.Client) -> None:
    paper = Image.new("L", (900, 600), 235)
    paper.paste(draw(7, (300, 300), 235, 30, 0.07, "L", 0.8), (550, 250))
    expected = explained(client, encode(paper, "JPEG"))["explanation"]["box"]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    lying = encode(paper.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)
    assert explained(client, lying)["explanation"]["box"] == pytest.approx(expected, abs=6)


def test_a_blank_picture_has_nothing_to_explain(client: httpx.Client) -> None:
    found = explained(client, encode(Image.new("L", (200, 200), 255)))
    assert found["reason"] == "blank"
    assert found["explanation"]["box"] is None
    assert not np.array(found["explanation"]["attribution"]).any()
    assert not seen(found["explanation"]).any()


def test_other_values_are_refused_and_strict_still_rejects(client: httpx.Client) -> None:
    check(client.post("/predict?explain=yes", files={"file": SEVEN}), 422, "explain", "explain=true")
    several = (IMAGES / "several.png").read_bytes()
    check(client.post("/predict?explain=true&strict=true", files={"file": several}), 422, "several")
