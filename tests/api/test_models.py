"""Versions over HTTP: which there are, what each says of itself, and how another one takes over."""

import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.registry import store
from tests.support import versions as made
from tests.support.calls import check
from tests.support.images import SEVEN, pixels
from tests.support.servers import served
from tests.support.versions import SHIPPED

IMAGE = np.array(pixels(), np.uint8)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of two versions, of which the first serves."""
    models = made.shipped(tmp_path / "digits")
    made.add(models, 2)
    return models


def test_models_lists_every_version_and_which_serves(client: httpx.Client) -> None:
    models = client.get("/models").json()["models"]
    assert [model["version"] for model in models] == store.numbers(SHIPPED)
    assert [model["version"] for model in models if model["serving"]] == [store.current(SHIPPED)]
    assert models[0]["name"] == "digits"
    assert client.get("/models").json()["fault"] is None


def test_a_version_shows_its_manifest(client: httpx.Client) -> None:
    number = store.current(SHIPPED)
    model = client.get(f"/models/{number}").json()
    assert model["serving"] is True
    assert model["card"]["files"] == store.read_manifest(SHIPPED / str(number)).files
    assert model["recipe"] == model["card"]["recipe"]["name"]


def test_figures_are_listed_and_long_lists_are_in_the_manifest(tmp_path: Path) -> None:
    models = made.shipped(tmp_path / "digits")
    number = store.current(models)
    short = {"images": 2, "correct": 1, "accuracy": 0.5, "nll": 0.7, "brier": 0.4, "ece": 0.1, "accepted": 0.5}
    long = {
        "precision": [0.5, *[None] * 9],
        "recall": [1.0, *[None] * 9],
        "confusion": [[0] * 10] * 10,
        "reliability": [[1, 0.5, 0.5], *[[0, None, None]] * 9],
    }
    made.describe(models / str(number), metrics={"test": short | long})
    with served(tmp_path / "state", models) as client:
        listed = next(model for model in client.get("/models").json()["models"] if model["version"] == number)
        assert listed["metrics"] == {"test": short}
        detail = client.get(f"/models/{number}").json()
    assert detail["metrics"] == {"test": short}
    assert detail["card"]["metrics"] == {"test": short | long}


def test_versions_that_do_not_exist(client: httpx.Client) -> None:
    check(client.get("/models/999"), 404, "999")
    check(client.get("/models/first"), 422, "version")
    check(client.get(f"/models/{10**20}"), 422, "version")


def test_activation(models: Path, tmp_path: Path) -> None:
    with served(tmp_path / "state", models) as client:
        for number in (2, 2, 1):  # one that serves already is fine
            reply = client.post(f"/models/{number}/activate")
            assert reply.status_code == 200
            listed = client.get("/models").json()["models"]
            assert reply.json() == next(model for model in listed if model["serving"])
            assert reply.json()["version"] == store.current(models) == number
        check(client.post("/models/3/activate"), 404, "3", "1, 2")
        check(client.post("/models/-1/activate"), 422, "version")
        check(client.post(f"/models/{'9' * 400}/activate"), 422, "version")
        client.headers.pop("authorization")
        check(client.post("/models/2/activate"), 401)
        assert store.current(models) == 1


def test_an_upload_that_takes_long_is_answered_by_the_version_that_it_met(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), served(tmp_path / "state", models) as client:

        def slowly() -> Iterator[bytes]:
            yield SEVEN[:100]
            assert client.get("/health/live").is_success  # so that the upload is under way
            for number in (2, 1, 2):
                assert client.post(f"/models/{number}/activate").status_code == 200
            yield SEVEN[100:]

        headers = {"content-type": "image/png", "x-request-id": "slow"}
        reply = client.post("/predict", content=slowly(), headers=headers).json()
        assert reply["model"]["version"] == 1
        assert np.allclose(reply["probabilities"], made.answer(models, 1, IMAGE), atol=1e-5)
        assert client.get("/health/ready").json()["model"]["version"] == 2
    lines = [vars(record) for record in caplog.records if record.getMessage() == "request"]
    assert [line["version"] for line in lines if line["request_id"] == "slow"] == [1]
