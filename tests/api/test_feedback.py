"""Corrections over HTTP."""

import base64
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import httpx
import numpy as np
import pytest
from PIL import Image

from app.api.feedback import export_feedback
from app.api.state import FullState
from app.settings import Settings
from tests.conftest import AUTHORISED, ROOT, Start
from tests.samples import base64_of, encode, handwritten

SEVEN = (ROOT / "tests/images/seven.png").read_bytes()


@pytest.fixture
def service(start_server: Start) -> Iterator[httpx.Client]:
    """A service of its own: others' corrections would be in the way."""
    with httpx.Client(base_url=start_server().url, headers=AUTHORISED, timeout=30) as client:
        yield client


def digit(seed: int) -> bytes:
    return encode(handwritten(seed % 10, np.random.default_rng(seed)))


def test_all_forms_and_what_is_kept(service: httpx.Client) -> None:
    first = service.post("/feedback", files={"file": ("seven.png", SEVEN, "image/png")}, data={"label": "7"})
    assert first.status_code == 201
    kept = first.json()
    assert (kept["id"], kept["label"], kept["prediction"], kept["version"]) == (1, 7, 7, 1)
    assert kept["probabilities"] == pytest.approx(
        service.post("/predict", files={"file": SEVEN}).json()["probabilities"], abs=1e-7
    )
    again = service.post("/feedback", json={"image": base64_of(SEVEN), "label": 1})
    assert again.status_code == 200
    assert (again.json()["id"], [label["label"] for label in again.json()["labels"]]) == (1, [7, 1])
    pixels = handwritten(3, np.random.default_rng(5))
    third = service.post("/feedback", json={"pixels": pixels.tolist(), "label": 3})
    assert third.status_code == 201
    (one, two) = service.get("/feedback").json()["feedback"]
    assert (one["label"], two["label"]) == (1, 3)
    with Image.open(io.BytesIO(base64.b64decode(two["seen"].partition(",")[2]))) as seen:
        np.testing.assert_array_equal(np.asarray(seen), pixels)
    archive = service.get("/feedback/export")
    assert archive.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(archive.content)) as files:
        assert files.read("sent/1") == SEVEN
        assert len(files.read("feedback.jsonl").splitlines()) == 2


def test_an_archive_is_made_beside_the_database_not_in_memory(tmp_path: Path) -> None:
    class Many:
        def write_archive(self, file: IO[bytes]) -> None:
            self.file, self.place = file, os.readlink(f"/proc/self/fd/{file.fileno()}")

    feedback, settings = Many(), Settings(state=tmp_path / "state")
    export_feedback(cast(FullState, {"settings": settings, "feedback": feedback}))
    feedback.file.close()
    assert feedback.place.startswith(f"{tmp_path}/state/")


@pytest.mark.parametrize("media_type", ["image/\0png", "a" * 3000, "image/<b>"])
def test_what_the_sender_calls_it_is_kept_only_where_it_is_a_media_type(service: httpx.Client, media_type: str) -> None:
    reply = service.post("/feedback", json={"image": f"data:{media_type};base64,{base64_of(SEVEN)}", "label": 7})
    assert (reply.status_code, reply.json()["sent_type"]) == (201, "")


def test_pages(service: httpx.Client) -> None:
    for seed in range(5):
        service.post("/feedback", files={"file": digit(seed)}, data={"label": "4"}).raise_for_status()
    ids, after = [], 0
    while after is not None:
        page = service.get("/feedback", params={"limit": 2, "after": after}).json()
        ids += [kept["id"] for kept in page["feedback"]]
        after = page["next"]
    assert ids == [1, 2, 3, 4, 5]
    assert service.get("/feedback", params={"limit": 5}).json()["next"] is None


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"files": {"file": SEVEN}}, 422, "label"),
        ({"files": {"file": SEVEN}, "data": {"label": "10"}}, 422, "0 to 9"),
        ({"files": {"file": SEVEN}, "data": {"label": "seven"}}, 422, "0 to 9"),
        ({"files": {"file": SEVEN}, "data": {"label": ["1", "2"]}}, 422, "2 fields 'label'"),
        ({"files": {"label": b"7"}}, 422, "0 fields 'file'"),
        ({"json": {"image": base64_of(SEVEN)}}, 422, "label"),
        ({"json": {"image": base64_of(SEVEN), "label": True}}, 422, "0 to 9"),
        ({"json": {"image": base64_of(SEVEN), "label": 7.0}}, 422, "0 to 9"),
        ({"json": {"label": 7}}, 422, "no field 'image'"),
        ({"content": SEVEN, "headers": {"content-type": "image/png"}}, 415, "'file' and 'label'"),
        ({"files": {"file": b"no image"}, "data": {"label": "7"}}, 422, "image"),
        ({"files": {"file": encode(Image.new("L", (50, 50), 255))}, "data": {"label": "7"}}, 422, "blank"),
    ],
)
def test_bad_input_is_told_and_not_kept(client: httpx.Client, body: dict, status: int, word: str) -> None:
    before = client.get("/feedback").json()
    reply = client.post("/feedback", **{**body, "headers": {**AUTHORISED, **body.get("headers", {})}})
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert word in reply.json()["detail"]
    assert client.get("/feedback").json() == before


def test_it_needs_the_token(client: httpx.Client) -> None:
    reply = client.post("/feedback", files={"file": SEVEN}, data={"label": "7"})
    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")


def test_a_database_that_is_away_stops_corrections_but_no_predictions(start_server: Start, tmp_path: Path) -> None:
    """And what comes once it is back is kept, without a restart."""
    (tmp_path / "in-the-way").write_text("")
    server = start_server(DIGITS_DATABASE_URL=f"sqlite:///{tmp_path}/in-the-way/digits.db")
    with httpx.Client(base_url=server.url, headers=AUTHORISED, timeout=30) as service:
        for call in (
            lambda: service.post("/feedback", files={"file": SEVEN}, data={"label": "7"}),
            lambda: service.get("/feedback"),
            lambda: service.get("/feedback/export"),
            lambda: service.get("/jobs"),
            lambda: service.get("/jobs/1/events"),
            lambda: service.delete("/jobs/1"),
        ):
            reply = call()
            assert reply.status_code == 503, reply.text
            assert reply.headers["retry-after"] == "5"
            assert str(tmp_path) not in reply.text
            assert service.post("/predict", files={"file": SEVEN}).json()["digit"] == 7
        (tmp_path / "in-the-way").unlink()
        assert service.post("/feedback", files={"file": SEVEN}, data={"label": "7"}).status_code == 201
