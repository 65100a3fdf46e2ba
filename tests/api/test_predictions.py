"""Predictions over HTTP: every form that is taken, and what comes back."""

import json
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest

from app.inference.engine import Graph
from app.inference.ensemble import load_cascade
from app.registry import store
from tests.support.calls import RAW, check_reading
from tests.support.images import SEVEN, base64_of, draw, encode, handwritten, pixels
from tests.support.paths import IMAGES
from tests.support.versions import SHIPPED

DRAWN = {"seven.png": 7, "seven-28x28.png": 7, "three.jpg": 3, "five.webp": 5, "two.gif": 2}


@pytest.mark.parametrize(("name", "digit"), DRAWN.items())
def test_a_file_in_a_form(client: httpx.Client, name: str, digit: int) -> None:
    reply = client.post("/predict", files={"file": (IMAGES / name).read_bytes()})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    reading = reply.json()
    assert list(reading) == ["digit", "confidence", "accepted", "reason", "probabilities", "model"]
    assert reading["digit"] == digit
    assert reading["model"]["name"] == "digits"
    check_reading(reading)


def test_every_form_of_one_image_gives_the_same_reply(client: httpx.Client) -> None:
    plain = np.array(pixels(), np.uint8).tobytes()
    replies = [
        client.post("/predict", files={"file": SEVEN}),
        client.post("/predict", files={"file": ("x", SEVEN, "application/octet-stream")}),
        client.post("/predict", files=[("note", (None, b"ignored")), ("file", SEVEN)]),
        client.post("/predict", files={"file": ("x", base64_of(SEVEN), None, {"Content-Transfer-Encoding": "base64"})}),
        client.post("/predict", content=SEVEN, headers={"content-type": "image/png"}),
        client.post("/predict", content=SEVEN, headers={"content-type": "image/png; charset=binary"}),
        client.post("/predict", json={"image": base64_of(SEVEN)}),
        client.post("/predict", json={"image": f"data:image/png;base64,{base64_of(SEVEN)}"}),
        client.post("/predict", json={"image": f" \n data:image/png;base64,{base64_of(SEVEN)}\n"}),
        client.post("/predict", json={"image": f"data:image/png;base64,{quote(base64_of(SEVEN), safe='')}"}),
        client.post("/predict", json={"image": f"DATA:Image/PNG; x=y; BASE64,{base64_of(SEVEN)}"}),
        client.post("/predict", json={"image": f"data:,{quote(SEVEN, safe='')}"}),
        client.post("/predict", json={"image": f"data:image/png,{quote(SEVEN, safe='')}"}),
        client.post("/predict", json={"image": base64_of(SEVEN).replace("+", "-").replace("/", "_")}),
        client.post("/predict", json={"image": "\n".join(textwrap.wrap(base64_of(SEVEN), 76)) + "\n"}),
        client.post("/predict", json={"pixels": pixels()}),
        client.post("/predict", json={"pixels": [[float(v) for v in row] for row in pixels()]}),
        client.post("/predict", content=plain, headers=RAW),
        client.post("/predict", content=SEVEN, headers=RAW),
        client.post("/predict", content=iter([SEVEN[:100], SEVEN[100:]]), headers={"content-type": "image/png"}),
        client.post("/predict/", files={"file": SEVEN}),
    ]
    assert [reply.status_code for reply in replies] == [200] * len(replies)
    assert len({reply.content for reply in replies}) == 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_picture_s_file_may_come_as_plain_bytes(client: httpx.Client, kind: str) -> None:
    """As clients send a file whose type they do not know."""
    for size in (28, 200):
        content = encode(draw(7, (size, size)), kind)
        reply = client.post("/predict", content=content, headers=RAW)
        assert reply.json()["digit"] == 7
        assert reply.content == client.post("/predict", files={"file": content}).content


def test_all_ten_digits_in_any_colours(client: httpx.Client) -> None:
    for digit in range(10):
        for background, foreground in (("white", "black"), ("black", "white"), ((250, 245, 220), (20, 40, 130))):
            content = encode(draw(digit, (220, 300), background, foreground))
            assert client.post("/predict", files={"file": content}).json()["digit"] == digit


def test_many_at_once_have_each_their_own_reply(client: httpx.Client) -> None:
    """They go through the network together."""
    random = np.random.default_rng(4)
    contents = [encode(handwritten(n % 10, random)) for n in range(64)]
    alone = [client.post("/predict", files={"file": content}).json() for content in contents]
    with ThreadPoolExecutor(16) as threads:
        replies = list(threads.map(lambda content: client.post("/predict", files={"file": content}).json(), contents))
    assert [reading["digit"] for reading in replies] == [reading["digit"] for reading in alone]
    compare(replies, alone)


def test_a_batch_is_answered_in_order_and_like_single_images(client: httpx.Client) -> None:
    random = np.random.default_rng(2)
    contents = [encode(handwritten(n % 10, random)) for n in range(150)]
    reply = client.post("/predict/batch", files=[("file", content) for content in contents]).json()
    assert list(reply) == ["predictions", "model"]
    assert len(reply["predictions"]) == 150
    for content, reading in zip(contents, reply["predictions"], strict=True):
        check_reading(reading)
        single = client.post("/predict", files={"file": content}).json()
        assert reading["digit"] == single["digit"]
        assert reading["probabilities"] == pytest.approx(single["probabilities"], abs=1e-5)
    same = client.post("/predict/batch", json={"images": [base64_of(content) for content in contents]})
    assert same.json() == reply
    same = client.post("/predict/batch", json={"pixels": [pixels(content) for content in contents]})
    assert same.json() == reply
    raw = np.array([pixels(content) for content in contents], np.uint8).tobytes()
    same = client.post("/predict/batch", content=raw, headers=RAW)
    assert same.json() == reply


def test_what_is_unlike_the_others_of_a_batch_has_its_own_place(client: httpx.Client) -> None:
    """More images than are looked at together, and than are written at a time."""
    random = np.random.default_rng(3)
    images = [handwritten(n % 10, random) for n in range(150)]
    for place in (7, 131):
        images[place] = np.zeros_like(images[place])
    for place in (20, 140):
        images[place] = np.roll(images[place], 4, axis=1)
    contents = [encode(image) for image in images]
    singles = [client.post("/predict", files={"file": content}).json() for content in contents]

    raw = np.stack(images).tobytes()
    found = client.post("/predict/batch", content=raw, headers=RAW).json()["predictions"]
    compare(found, singles)
    assert [n for n, reading in enumerate(found) if reading["reason"] == "blank"] == [7, 131]

    contents[3] = contents[90] = b"hello"
    found = client.post("/predict/batch", files=[("file", content) for content in contents]).json()["predictions"]
    assert [n for n, entry in enumerate(found) if "error" in entry] == [3, 90]
    readable = [n for n in range(150) if n not in (3, 90)]
    compare([found[n] for n in readable], [singles[n] for n in readable])


def compare(found: list[dict[str, Any]], singles: list[dict[str, Any]]) -> None:
    for reading, single in zip(found, singles, strict=True):
        assert reading["reason"] == single["reason"]
        assert reading["probabilities"] == pytest.approx(single["probabilities"], abs=1e-5)


def test_bad_images_of_a_batch_have_their_own_errors(client: httpx.Client) -> None:
    contents = [SEVEN, b"hello", SEVEN, SEVEN[:100], b"%PDF-1.4", b""]
    entries = client.post("/predict/batch", files=[("file", content) for content in contents]).json()["predictions"]
    assert [entry.get("digit") for entry in entries] == [7, None, 7, None, None, None]
    statuses = [entry["error"]["status"] for entry in entries if "error" in entry]
    assert statuses == [422, 422, 415, 422]
    assert entries[1]["error"]["type"] == "urn:digits:problem:not-an-image"

    entries = client.post("/predict/batch", json={"images": ["?", 5, base64_of(SEVEN)]}).json()["predictions"]
    assert "images[0]" in entries[0]["error"]["detail"]
    assert "images[1]" in entries[1]["error"]["detail"]
    assert entries[2]["digit"] == 7

    entries = client.post("/predict/batch", json={"pixels": [pixels(), [[1]]]}).json()["predictions"]
    assert entries[0]["digit"] == 7
    assert "pixels[1]" in entries[1]["error"]["detail"]


def test_a_batch_of_bad_images_alone(client: httpx.Client) -> None:
    reply = client.post("/predict/batch", files=[("file", b"hello")])
    assert reply.status_code == 200
    assert [list(entry) for entry in reply.json()["predictions"]] == [["error"]]


def test_probabilities_are_written_so_that_float32_comes_back(client: httpx.Client) -> None:
    text = client.post("/predict", files={"file": SEVEN}).text
    written = json.loads(text, parse_float=str)["probabilities"]
    cascade = load_cascade(Graph(store.verify(SHIPPED / str(store.current(SHIPPED)))), threads=2)
    expected = cascade.predict(np.array(pixels(), np.uint8)[None])[0]
    assert np.array_equal(np.array(written, np.float32), expected)
    assert all(len(number.partition("e")[0].replace(".", "").lstrip("0")) <= 9 for number in written)
