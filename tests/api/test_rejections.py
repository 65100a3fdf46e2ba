"""Answers that are not accepted: what they say, what strict calls make of them, and that they are counted."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

from app.api import schemas
from app.inference.engine import Graph
from app.inference.ensemble import load_cascade
from app.inference.rejection import TWO_DIGITS_PROBABILITY, reject
from app.registry import store
from tests.support import versions as made
from tests.support.calls import check, check_reading, metric
from tests.support.images import SEVEN, base64_of, draw, encode, handwritten, pixels
from tests.support.paths import IMAGES
from tests.support.servers import served
from tests.support.versions import SHIPPED

THRESHOLD = 0.9

BLANK = encode(Image.new("L", (60, 40), 255))
SEVERAL = (IMAGES / "several.png").read_bytes()
EMPTY_PIXELS = [[0] * 28] * 28


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of versions; the one that serves has a threshold."""
    models = made.shipped(tmp_path_factory.mktemp("careful") / "digits")
    made.describe(models / str(store.current(models)), threshold=THRESHOLD)
    return models


@pytest.fixture
def service(careful: Path, tmp_path: Path) -> Iterator[httpx.Client]:
    with served(tmp_path, careful) as client:
        yield client


def picture(fits: Callable[[NDArray[np.float32]], bool]) -> bytes:
    """Digits one upon the other, of which the network says what fits: its probabilities come largest first."""
    random = np.random.default_rng(0)
    cascade = load_cascade(Graph(store.verify(SHIPPED / str(store.current(SHIPPED)))), threads=1)
    for _ in range(5000):
        layers = [handwritten(int(digit), random) for digit in random.integers(0, 10, 2)]
        image: NDArray[np.uint8] = np.maximum(*layers)
        if fits(np.sort(cascade.predict(image[None])[0])[::-1]):
            return encode(image)
    raise AssertionError("no such picture")


@pytest.fixture(scope="module")
def hesitant() -> bytes:
    """A picture that leaves the network between two digits."""
    return picture(lambda found: bool(0.4 < found[0] < 0.8 and found[0] + found[1] > TWO_DIGITS_PROBABILITY + 0.05))


@pytest.fixture(scope="module")
def unknown() -> bytes:
    """One in which it recognises nothing."""
    return picture(lambda found: bool(found[0] + found[1] < TWO_DIGITS_PROBABILITY - 0.05))


def post(client: httpx.Client, content: bytes, strict: str | None = None) -> httpx.Response:
    return client.post("/predict", files={"file": content}, params={"strict": strict} if strict else None)


def assert_rejected(reading: dict[str, Any], reason: str) -> None:
    """It has all that an answer has."""
    check_reading(reading)
    assert (reading["accepted"], reading["reason"]) == (False, reason)


def test_a_digit_is_accepted(client: httpx.Client) -> None:
    for strict in (None, "true", "1", "false", "0", "True"):
        reading = post(client, SEVEN, strict).json()
        assert (reading["digit"], reading["accepted"], reading["reason"]) == (7, True, None)


@pytest.mark.parametrize(
    "body",
    [
        {"files": {"file": BLANK}},
        {"files": {"file": encode(draw(1, (280, 280), "black", "black"))}},
        {"files": {"file": encode(np.zeros((28, 28), np.uint8))}},
        {"json": {"image": base64_of(BLANK)}},
        {"json": {"pixels": EMPTY_PIXELS}},
        {"json": {"pixels": [[200] * 28] * 28}},
    ],
)
def test_a_blank_picture(client: httpx.Client, body: dict[str, Any]) -> None:
    """Its probabilities are those of an empty image."""
    reply = client.post("/predict", **body)
    assert reply.status_code == 200
    assert_rejected(reply.json(), "blank")
    expected = made.answer(SHIPPED, store.current(SHIPPED), np.zeros((28, 28), np.uint8))
    assert reply.json()["probabilities"] == pytest.approx(expected.tolist(), abs=1e-6)
    problem = check(client.post("/predict?strict=true", **body), 422, "blank", "send one with a digit")
    assert problem["type"] == "urn:digits:problem:blank-image"


def test_several_digits(client: httpx.Client) -> None:
    assert_rejected(post(client, SEVERAL).json(), "several_digits")
    problem = check(post(client, SEVERAL, "1"), 422, "several digits", "one at a time")
    assert problem["type"] == "urn:digits:problem:several-digits"
    assert post(client, SEVERAL, "0").status_code == 200


def test_a_version_without_a_threshold_accepts_all(tmp_path: Path, hesitant: bytes, unknown: bytes) -> None:
    models = made.shipped(tmp_path / "digits")
    made.describe(models / str(store.current(models)), threshold=None)
    with served(tmp_path / "state", models) as service:
        for content in (hesitant, unknown):
            reading = post(service, content, "true").json()
            assert (reading["accepted"], reading["reason"]) == (True, None)


def test_what_the_network_is_unsure_of(service: httpx.Client, hesitant: bytes) -> None:
    reading = post(service, hesitant).json()
    assert_rejected(reading, "unsure")
    first, second = np.argsort(reading["probabilities"])[::-1][:2]
    problem = check(post(service, hesitant, "true"), 422, f"a {first} or a {second}")
    assert problem["type"] == "urn:digits:problem:unsure"


def test_what_the_network_does_not_know(service: httpx.Client, unknown: bytes) -> None:
    assert_rejected(post(service, unknown).json(), "no_digit")
    problem = check(post(service, unknown, "true"), 422, "no digit")
    assert problem["type"] == "urn:digits:problem:no-digit"


def test_what_can_be_seen_comes_first(service: httpx.Client) -> None:
    """Whatever the network thinks of it."""
    assert_rejected(post(service, BLANK).json(), "blank")
    assert_rejected(post(service, SEVERAL).json(), "several_digits")


def test_a_batch(service: httpx.Client, hesitant: bytes, unknown: bytes) -> None:
    contents = [SEVEN, BLANK, b"hello", SEVERAL, hesitant, SEVEN, unknown]
    files = [("file", content) for content in contents]
    expected = [None, "blank", "error", "several_digits", "unsure", None, "no_digit"]
    reply = service.post("/predict/batch", files=files)
    entries = reply.json()["predictions"]
    assert [entry.get("reason", "error") for entry in entries] == expected
    assert [entry["accepted"] for entry in entries if "accepted" in entry] == [reason is None for reason in expected
                                                                               if reason != "error"]  # fmt: skip
    for entry in entries:
        if "error" not in entry:
            check_reading(entry)

    strict = service.post("/predict/batch?strict=true", files=files)
    assert strict.status_code == 200
    entries = strict.json()["predictions"]
    assert [list(entry) == ["error"] for entry in entries] == [reason is not None for reason in expected]
    assert [entries[place]["digit"] for place in (0, 5)] == [7, 7]
    kinds = [entry["error"]["type"].rpartition(":")[2] for entry in entries if "error" in entry]
    assert kinds == ["blank-image", "not-an-image", "several-digits", "unsure", "no-digit"]
    schemas.Predictions.model_validate(reply.json())
    schemas.Predictions.model_validate(strict.json())


def test_a_batch_of_numbers(client: httpx.Client) -> None:
    images = np.array([pixels(), EMPTY_PIXELS], np.uint8)
    raw = {"content": images.tobytes(), "headers": {"content-type": "application/octet-stream"}}
    for body in ({"json": {"pixels": images.tolist()}}, raw):
        first, second = client.post("/predict/batch", **body).json()["predictions"]  # type: ignore[arg-type]
        assert (first["digit"], first["accepted"]) == (7, True)
        assert_rejected(second, "blank")
        first, second = client.post("/predict/batch?strict=1", **body).json()["predictions"]  # type: ignore[arg-type]
        assert first["accepted"]
        assert second["error"]["status"] == 422


def test_a_batch_of_blank_images_alone(client: httpx.Client) -> None:
    for strict in ("true", "false"):
        reply = client.post(f"/predict/batch?strict={strict}", files=[("file", BLANK)] * 3)
        assert reply.status_code == 200
        assert len(reply.json()["predictions"]) == 3


def test_rejected_pictures_are_counted(service: httpx.Client, hesitant: bytes, unknown: bytes) -> None:
    def counts() -> dict[str, float]:
        """As the metric tells them, under its name and under its former name."""
        text, found = service.get("/metrics").text, {}
        for reason in ("blank", "no_digit", "several_digits", "unsure"):
            for name in ("digits_rejected_total", "digits_declined_total"):
                series = f'{name}{{reason="{reason}"}}'
                assert series in text  # from the start
                assert found.setdefault(reason, metric(text, series)) == metric(text, series)
        return found

    assert set(counts().values()) == {0.0}
    post(service, SEVEN)
    assert set(counts().values()) == {0.0}
    post(service, BLANK)
    post(service, BLANK, "true")
    post(service, hesitant)
    service.post("/predict/batch", files=[("file", content) for content in (BLANK, SEVERAL, SEVERAL, unknown, SEVEN)])
    assert counts() == {"blank": 3, "no_digit": 1, "several_digits": 2, "unsure": 1}


def test_other_parameters_are_ignored(client: httpx.Client) -> None:
    assert client.post("/predict?verbose=yes&x", files={"file": BLANK}).status_code == 200
    assert client.post("/predict?verbose=yes&strict=true", files={"file": BLANK}).status_code == 422


@pytest.mark.parametrize(("path", "model"), [("/predict", schemas.Prediction), ("/predict/batch", schemas.Predictions)])
def test_they_are_documented(client: httpx.Client, path: str, model: type[BaseModel]) -> None:
    operation = client.get("/openapi.json").json()["paths"][path]["post"]
    strict = next(parameter for parameter in operation["parameters"] if parameter["name"] == "strict")
    assert (strict["in"], strict["schema"]["type"]) == ("query", "boolean")
    assert strict["description"]
    shown = operation["responses"]["200"]["content"]["application/json"]
    assert shown["schema"]["$ref"].endswith(model.__name__)
    for example in shown["examples"].values():
        model.model_validate(example["value"])
        for reading in example["value"].get("predictions", [example["value"]]):
            if "error" not in reading:
                check_reading(reading)
    refused = operation["responses"]["422"]["content"]["application/problem+json"]["examples"]
    expected = {"malformed-body", "invalid-parameter"}
    if path == "/predict":
        assert set(shown["examples"]) == {"accepted", "blank", "no_digit", "several_digits", "unsure"}
        expected |= {"blank-image", "no-digit", "several-digits", "unsure"}
    assert set(refused) == expected
    for slug, example in refused.items():
        assert example["value"]["type"] == f"urn:digits:problem:{slug}"


def probabilities(*largest: float) -> NDArray[np.float32]:
    """Ten of them: these, and the rest in equal parts."""
    rest = (1 - sum(largest)) / (10 - len(largest))
    return np.array([*largest, *[rest] * (10 - len(largest))], np.float32)


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        ((0.95,), None),
        ((0.9,), None),  # as much as the threshold
        ((0.89,), "unsure"),
        ((0.5, 0.45), "unsure"),
        ((0.45, 0.3), "unsure"),
        ((0.4, 0.25), "no_digit"),
        ((0.6,), "no_digit"),
        ((0.1,), "no_digit"),
    ],
)
def test_the_two_likeliest_tell_unsure_from_no_digit(largest: tuple[float, ...], expected: str | None) -> None:
    for shift in range(10):
        rolled = np.roll(probabilities(*largest), shift)
        assert reject(rolled[None], 0.9) == [expected]
        assert reject(rolled[None], None) == [None]
