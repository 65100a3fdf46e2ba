"""Corrections over HTTP."""

import base64
import io
import logging
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.retraining.feedback import Feedback
from tests.support.calls import check, raw_reply
from tests.support.images import base64_of, encode, handwritten
from tests.support.paths import IMAGES
from tests.support.servers import AUTHORISED, TOKEN, served
from tests.support.waiting import TIMEOUT_SECONDS, wait_for

SEVEN = (IMAGES / "seven.png").read_bytes()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[httpx.Client]:
    """A service of its own: others' corrections would be in the way."""
    with served(tmp_path) as client:
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


def test_the_archive_is_streamed(service: httpx.Client) -> None:
    """Its size is not known before: it is made while it is sent."""
    sent = [digit(seed) for seed in range(5)]
    for content in sent:
        service.post("/feedback", files={"file": content}, data={"label": "4"}).raise_for_status()
    reply = service.get("/feedback/export")
    assert reply.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in reply.headers
    assert reply.headers["content-disposition"] == 'attachment; filename="feedback.zip"'
    with zipfile.ZipFile(io.BytesIO(reply.content)) as files:
        assert files.testzip() is None
        assert [files.read(f"sent/{number}") for number in range(1, 6)] == sent


class Gated:
    """An archive of two pieces. The second one is made when it is let go."""

    def __init__(self) -> None:
        self.open, self.is_broken = threading.Event(), False

    def __call__(self, feedback: Feedback) -> Iterator[bytes]:
        yield b"first, "
        assert self.open.wait(TIMEOUT_SECONDS)
        if self.is_broken:
            raise ZeroDivisionError
        yield b"second"


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gated]:
    gated = Gated()
    monkeypatch.setattr(Feedback, "archive", lambda feedback: gated(feedback))
    yield gated
    gated.open.set()  # or the service would not end


@pytest.fixture
def exporting(archive: Gated, tmp_path: Path) -> Iterator[httpx.Client]:
    with served(tmp_path) as client:
        yield client
        archive.open.set()


def is_sent(client: httpx.Client) -> bool:
    return client.get("/feedback/export").content == b"first, second"


def test_one_archive_is_sent_at_a_time(exporting: httpx.Client, archive: Gated) -> None:
    with exporting.stream("GET", "/feedback/export") as reply:
        pieces = reply.iter_raw()
        assert next(pieces) == b"first, "
        second = exporting.get("/feedback/export")
        assert check(second, 503, "try again")["type"] == "urn:digits:problem:overloaded"
        assert second.headers["retry-after"] == "1"
        archive.open.set()
        assert b"".join(pieces) == b"second"
    wait_for(lambda: is_sent(exporting), "another archive")


def test_an_archive_whose_client_hangs_up_is_in_nobody_s_way(exporting: httpx.Client, archive: Gated) -> None:
    with exporting.stream("GET", "/feedback/export") as reply:
        assert next(reply.iter_raw()) == b"first, "
    archive.open.set()
    wait_for(lambda: is_sent(exporting), "another archive")


def test_an_archive_that_breaks_off_does_not_look_whole(
    exporting: httpx.Client, archive: Gated, caplog: pytest.LogCaptureFixture
) -> None:
    archive.is_broken = True
    archive.open.set()
    with caplog.at_level(logging.ERROR), pytest.raises(httpx.RemoteProtocolError):
        exporting.get("/feedback/export")
    assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in caplog.records)
    archive.is_broken = False
    wait_for(lambda: is_sent(exporting), "another archive")


def test_an_archive_is_not_for_http_1_0(client: httpx.Client) -> None:
    """The client could not tell a whole one from one that broke off."""
    reply = raw_reply(client, f"GET /feedback/export HTTP/1.0\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode())
    check(reply, 400, "HTTP/1.1")


def test_what_the_sender_calls_it_is_kept_only_where_it_is_a_media_type(service: httpx.Client) -> None:
    for seed, media_type in enumerate(("image/\0png", "a" * 3000, "image/<b>")):
        image = f"data:{media_type};base64,{base64_of(digit(seed))}"
        reply = service.post("/feedback", json={"image": image, "label": 7})
        assert (reply.status_code, reply.json()["sent_type"]) == (201, ""), media_type


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


def test_the_newest_first_and_how_many_there_are(service: httpx.Client) -> None:
    for seed in range(3):
        service.post("/feedback", files={"file": digit(seed)}, data={"label": "4"}).raise_for_status()
    page = service.get("/feedback", params={"limit": 2, "before": 2**31 - 1}).json()
    assert [kept["id"] for kept in page["feedback"]] == [3, 2]
    assert (page["next"], page["total"]) == (2, 3)
    rest = service.get("/feedback", params={"before": page["next"]}).json()
    assert [kept["id"] for kept in rest["feedback"]] == [1]
    assert rest["next"] is None


def test_what_was_sent_can_be_taken_back(service: httpx.Client) -> None:
    for seed in range(2):
        service.post("/feedback", files={"file": digit(seed)}, data={"label": "4"}).raise_for_status()
    reply = service.delete("/feedback/1")
    assert (reply.status_code, reply.content) == (204, b"")
    assert [kept["id"] for kept in service.get("/feedback").json()["feedback"]] == [2]
    problem = check(service.delete("/feedback/1"), 404, "there is no correction 1", "GET /feedback")
    assert problem["type"] == "urn:digits:problem:feedback-not-found"
    assert service.delete("/feedback/0").status_code == 422
    check(service.delete("/feedback/2", headers={"authorization": "Bearer wrong-token-altogether"}), 401, "admin token")
    assert service.get("/feedback").json()["total"] == 1


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
def test_bad_input_is_told_and_not_kept(client: httpx.Client, body: dict[str, Any], status: int, word: str) -> None:
    before = client.get("/feedback", headers=AUTHORISED).json()
    assert "feedback" in before
    reply = client.post("/feedback", **{**body, "headers": {**AUTHORISED, **body.get("headers", {})}})
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert word in reply.json()["detail"]
    assert client.get("/feedback", headers=AUTHORISED).json() == before


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong-token-altogether"}])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/feedback"), ("GET", "/feedback"), ("GET", "/feedback/export")],
)
def test_it_needs_the_token(client: httpx.Client, method: str, path: str, headers: dict[str, str]) -> None:
    """Pictures are their senders' own, so reading them needs it, too."""
    reply = client.request(method, path, headers=headers)
    assert check(reply, 401, "admin token")["type"] == "urn:digits:problem:unauthorized"
    assert reply.headers["www-authenticate"] == "Bearer"
    assert client.head(path, headers=headers).status_code == 401


def test_a_database_that_is_away_stops_corrections_but_no_predictions(tmp_path: Path) -> None:
    """And what comes once it is back is kept, without a restart."""
    (tmp_path / "in-the-way").write_text("")
    with served(tmp_path / "state", database_url=f"sqlite:///{tmp_path}/in-the-way/digits.db") as service:
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
