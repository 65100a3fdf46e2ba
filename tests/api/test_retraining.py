"""Retraining over HTTP, up to where a worker would begin."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.database import Database
from app.retraining import events as streams
from app.retraining.jobs import Jobs, JobStatus
from tests.support.calls import check, raw_reply
from tests.support.servers import AUTHORISED, Start, served
from tests.support.waiting import TIMEOUT_SECONDS, wait_for


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Without a worker, for calls that are refused and leave it as it was."""
    with served(tmp_path_factory.mktemp("refusing")) as client:
        yield client


@pytest.fixture
def service(tmp_path: Path) -> Iterator[httpx.Client]:
    """Without a worker: jobs stay where they are."""
    with served(tmp_path, max_jobs=3) as client:
        yield client


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    """The same jobs, as a worker sees them."""
    base = Database(f"sqlite:///{tmp_path}/digits.db")
    yield Jobs(base, 60)
    base.close()


def test_a_job_is_queued_and_can_be_watched(service: httpx.Client) -> None:
    reply = service.post("/retrain")
    assert reply.status_code == 202
    job = reply.json()
    assert reply.headers["location"] == f"/jobs/{job['id']}"
    assert (job["status"], job["request"]["start"]) == ("queued", "scratch")
    assert service.get(reply.headers["location"]).json() == job
    assert service.get("/jobs").json() == {"jobs": [job]}


def test_with_feedback_it_starts_from_the_version_that_serves(service: httpx.Client) -> None:
    for label in range(8):  # one of them at least is not held out
        pixels = [[0] * 28 for _ in range(28)]
        for y in range(6, 22):
            pixels[y][8 + label] = 255
        service.post("/feedback", json={"pixels": pixels, "label": 1}).raise_for_status()
    assert service.post("/retrain").json()["request"]["start"] == "current"
    assert service.post("/retrain", json={"recipe": "dense-512"}).json()["request"]["start"] == "scratch"
    assert service.post("/retrain", json={"start": "scratch"}).json()["request"]["start"] == "scratch"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b'{"epoch": 3}', "epoch"),
        (b'{"epochs": 0}', "epochs"),
        (b'{"epochs": true}', "epochs"),
        (b'{"force": "no"}', "force"),
        (b'{"feedback_share": 1}', "feedback_share"),
        (b'{"start": "nowhere"}', "scratch"),
        (b'{"recipe": "default", "start": "current"}', "leave it out"),
    ],
)
def test_what_cannot_be_asked_for(refusing: httpx.Client, body: bytes, word: str) -> None:
    reply = refusing.post("/retrain", content=body)
    assert reply.status_code == 422
    assert word in reply.json()["detail"]
    assert refusing.get("/jobs").json() == {"jobs": []}


def test_a_recipe_is_one_that_a_worker_knows(service: httpx.Client, jobs: Jobs) -> None:
    jobs.announce("a worker", None, ["default", "quick"])
    reply = service.post("/retrain", json={"recipe": "nonesuch"})
    assert reply.status_code == 422
    assert reply.json()["detail"] == "recipe: there is no recipe 'nonesuch'; there are: default, quick"
    assert service.post("/retrain", json={"recipe": "quick"}).status_code == 202


def test_the_same_key_at_once_is_one_job(service: httpx.Client) -> None:
    def send(_: int) -> httpx.Response:
        return service.post("/retrain", json={"epochs": 2}, headers={"Idempotency-Key": "monday"})

    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(send, range(8)))
    assert {reply.status_code for reply in replies} == {202}
    assert len({reply.headers["location"] for reply in replies}) == 1
    assert len(service.get("/jobs").json()["jobs"]) == 1
    other = service.post("/retrain", json={"epochs": 3}, headers={"Idempotency-Key": "monday"})
    assert (other.status_code, other.json()["type"]) == (422, "urn:digits:problem:idempotency-key-reused")


@pytest.mark.parametrize("key", ["", "k" * 201])
def test_a_key_that_is_none(refusing: httpx.Client, key: str) -> None:
    """All who send an empty one would share a job."""
    reply = refusing.post("/retrain", headers={"Idempotency-Key": key})
    assert reply.status_code == 422
    assert "idempotency-key" in reply.json()["detail"]
    assert refusing.get("/jobs").json() == {"jobs": []}


def test_a_full_queue(service: httpx.Client) -> None:
    for _ in range(3):
        assert service.post("/retrain").status_code == 202
    reply = service.post("/retrain")
    assert (reply.status_code, reply.headers["retry-after"]) == (429, "60")
    assert service.delete("/jobs/1").json()["status"] == "cancelled"
    assert service.post("/retrain").status_code == 202


def test_cancelling(service: httpx.Client, jobs: Jobs) -> None:
    service.post("/retrain")
    assert service.delete("/jobs/1").status_code == 202
    again = service.delete("/jobs/1")
    assert (again.status_code, again.json()["type"]) == (409, "urn:digits:problem:job-over")
    assert service.delete("/jobs/99").status_code == 404
    assert service.get("/jobs/99").status_code == 404
    assert service.get("/jobs/99/events").status_code == 404
    assert service.get("/jobs/nonsense").status_code == 422
    assert jobs.claim() is None


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.post("/retrain", headers={"authorization": ""}),
        lambda client: client.delete("/jobs/1", headers={"authorization": "Bearer wrong"}),
    ],
)
def test_it_needs_the_token(refusing: httpx.Client, call: Callable[[httpx.Client], httpx.Response]) -> None:
    reply = call(refusing)
    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")


def test_no_data_is_told_before_anything_starts(tmp_path: Path) -> None:
    """Nor does a folder that cannot be looked into stop the service."""
    empty, impossible = tmp_path / "empty", Path("/" + "x" * 300)
    empty.mkdir()
    for data, word in ((None, "DIGITS_DATA"), (empty, "train-images-idx3-ubyte.gz"), (impossible, "DIGITS_DATA")):
        with served(tmp_path / "state", worker="embedded", data=data) as client:
            problem = check(client.post("/retrain"), 409, word)
            assert problem["type"] == "urn:digits:problem:cannot-train"


def test_a_worker_elsewhere_that_cannot_train_is_told(service: httpx.Client, jobs: Jobs) -> None:
    jobs.announce("elsewhere", "there is no training data: set DIGITS_DATA")
    reply = service.post("/retrain")
    assert (reply.status_code, "DIGITS_DATA" in reply.json()["detail"]) == (409, True)


def test_a_key_gives_its_job_also_when_nobody_can_train_any_more(service: httpx.Client, jobs: Jobs) -> None:
    key = {"Idempotency-Key": "again"}
    job = service.post("/retrain", headers=key).json()
    jobs.announce("elsewhere", "there is no training data: set DIGITS_DATA")
    reply = service.post("/retrain", headers=key)
    assert (reply.status_code, reply.json()) == (202, job)
    assert service.post("/retrain", headers=key, json={"epochs": 1}).status_code == 422


def test_settings_that_are_too_long(refusing: httpx.Client) -> None:
    reply = refusing.post("/retrain", content=b" " * 70_000)
    assert (reply.status_code, "images" in reply.json()["detail"]) == (413, False)


def test_head_of_events_does_not_wait_for_the_job(service: httpx.Client) -> None:
    service.post("/retrain")
    reply = service.head("/jobs/1/events")
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert service.get("/health/live").is_success  # over the same connection


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    found: dict[str, Any] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            found[name] = value
        elif found:
            yield found
            found = {}


def test_events_stream_to_the_end_and_go_on_where_they_broke_off(service: httpx.Client, jobs: Jobs) -> None:
    service.post("/retrain")
    with service.stream("GET", "/jobs/1/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = events(stream.iter_lines())
        assert next(told) == {"retry": "1000"}
        assert next(told)["event"] == "queued"
        lease = jobs.claim()
        assert lease is not None
        assert next(told)["event"] == "running"
        jobs.heartbeat(lease, progress={"epoch": 1})
        progress = next(told)
        assert (progress["event"], '"epoch":1' in progress["data"]) == ("progress", True)
        jobs.finish(lease, JobStatus.REJECTED, reason="no better")
        assert next(told)["event"] == "rejected"
        assert list(told) == []  # the stream ends with the job
    rest = service.get("/jobs/1/events", headers={"Last-Event-ID": progress["id"]})
    assert [event.get("event") for event in events(iter(rest.text.splitlines()))] == [None, "rejected"]
    last = [event["id"] for event in events(iter(rest.text.splitlines())) if "id" in event][-1]
    nothing = service.get("/jobs/1/events", headers={"Last-Event-ID": last})
    assert (nothing.status_code, nothing.content) == (204, b"")  # or a browser would ask for ever
    whole = service.get("/jobs/1/events")
    assert whole.text.count("event: ") == 4


def test_over_http_1_0_events_are_told_so_far(service: httpx.Client, jobs: Jobs) -> None:
    """It has no chunked coding, so the end of a stream could not be told from its breaking off."""
    service.post("/retrain")
    request = b"GET /jobs/1/events HTTP/1.0\r\n%b\r\n"
    reply = raw_reply(service, request % b"")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert int(reply.headers["content-length"]) == len(reply.content)
    retry, queued = events(iter(reply.text.splitlines()))
    assert (retry, queued["event"]) == ({"retry": "1000"}, "queued")
    assert jobs.claim() is not None
    reply = raw_reply(service, request % f"last-event-id: {queued['id']}\r\n".encode())
    assert [event.get("event") for event in events(iter(reply.text.splitlines()))] == [None, "running"]


def test_streams_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert streams.MAX_STREAMS == 100
    monkeypatch.setattr(streams, "MAX_STREAMS", 3)
    with served(tmp_path) as client:
        client.post("/retrain").raise_for_status()
        with contextlib.ExitStack() as stack:
            told = []  # to lose the last reference to one would close its connection
            for _ in range(3):
                stream = stack.enter_context(client.stream("GET", "/jobs/1/events"))
                told.append(events(stream.iter_lines()))
                assert [next(told[-1]).get("event") for _ in range(2)] == [None, "queued"]
            reply = stack.enter_context(client.stream("GET", "/jobs/1/events"))
            assert reply.status_code == 503
            reply.read()
            assert check(reply, 503, "try again")["type"] == "urn:digits:problem:overloaded"
            assert reply.headers["retry-after"] == "1"

        def is_free() -> bool:
            with client.stream("GET", "/jobs/1/events") as stream:
                return stream.is_success

        wait_for(is_free, "room for another stream")
        client.delete("/jobs/1").raise_for_status()


def test_streams_do_not_hold_up_the_end_of_the_service(start_server: Start) -> None:
    server = start_server(DIGITS_WORKER="external")
    with httpx.Client(base_url=server.url, headers=AUTHORISED, timeout=30) as client:
        client.post("/retrain")
        with client.stream("GET", "/jobs/1/events") as stream:
            lines = stream.iter_lines()
            next(lines)
            server.process.terminate()
            list(lines)  # it ends, cleanly
    assert server.process.wait(TIMEOUT_SECONDS) == 0
