"""Health, metrics, the log and the documentation of the running service."""

import asyncio
import os
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.main import create_app
from app.registry import store
from app.services import services_of
from app.settings import Settings
from tests.support.calls import check, metric, raw_reply
from tests.support.images import SEVEN
from tests.support.servers import Start
from tests.support.versions import SHIPPED
from tests.support.waiting import TIMEOUT_SECONDS


def test_health(client: httpx.Client) -> None:
    assert client.get("/health/live").json() == {"status": "alive"}
    ready = client.get("/health/ready").json()
    assert ready == {"status": "ready", "model": {"name": "digits", "version": store.current(SHIPPED)}}


async def ready_before_and_after_sigterm(state: Path) -> list[httpx.Response]:
    """What /health/ready says before and after the signal, and /health/live after it."""
    app = create_app(Settings(models=SHIPPED, state=state, worker="external"))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://digits")
    async with app.router.lifespan_context(app), client:
        before = await client.get("/health/ready")
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(services_of(app).stopping.wait(), TIMEOUT_SECONDS)
        assert (await client.post("/predict", files={"file": SEVEN})).json()["digit"] == 7
        return [before, await client.get("/health/ready"), await client.get("/health/live")]


def test_a_service_that_stops_is_not_ready(tmp_path: Path) -> None:
    """Load balancers then send nothing more, while it answers what has come."""
    heard: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))  # as the server's own
    try:
        before, after, live = asyncio.run(ready_before_and_after_sigterm(tmp_path))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert before.json()["status"] == "ready"
    assert check(after, 503, "stopping")["type"] == "urn:digits:problem:stopping"
    assert after.headers["retry-after"] == "5"
    assert live.json() == {"status": "alive"}
    assert heard == [signal.SIGTERM]


@pytest.mark.parametrize("path", ["/models", "/models/1", "/health/live", "/jobs", "/docs", "/openapi.json"])
def test_a_slash_at_the_end_makes_no_difference(client: httpx.Client, path: str) -> None:
    """A redirect would name another address than the one that a proxy has."""
    plain = client.get(path)
    assert plain.status_code == 200
    for more in ("/", "//", "/?x=1"):
        reply = client.get(path + more)
        assert (reply.status_code, reply.content) == (200, plain.content)


def test_a_call_with_a_slash_at_its_end_is_counted_as_the_same(client: httpx.Client) -> None:
    name = 'digits_requests_total{method="GET",path="/models",status="200"}'
    before = metric(client.get("/metrics").text, name)
    client.get("/models/")
    assert metric(client.get("/metrics").text, name) == before + 1
    check(client.get("/nothing/"), 404, "/docs")


def test_metrics_count_requests_latencies_and_batches(client: httpx.Client) -> None:
    names = (
        'digits_requests_total{method="POST",path="/predict",status="200"}',
        'digits_requests_total{method="POST",path="/predict",status="422"}',
        'digits_requests_total{method="GET",path="other",status="404"}',
        'digits_request_seconds_count{path="/predict"}',
        "digits_batch_images_count",
        "digits_batch_images_sum",
    )
    before = client.get("/metrics").text
    client.post("/predict", files={"file": SEVEN})
    client.post("/predict", files={"file": b""})
    client.get("/nothing/at/all")
    client.post("/predict/batch", files=[("file", SEVEN)] * 70)
    reply = client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    # Runs: one for the lone digit, two for the batch, of 64 and of 6.
    assert [metric(reply.text, name) - metric(before, name) for name in names] == [1, 1, 1, 2, 3, 71]
    assert metric(reply.text, 'digits_model_version{name="digits"}') == store.current(SHIPPED)


def test_the_log_has_one_json_line_a_request(start_server: Start) -> None:
    server = start_server()
    with httpx.Client(base_url=server.url) as client:
        ours = client.post("/predict", files={"file": SEVEN}, headers={"x-request-id": "mine-1"})
        other = client.get("/nothing", headers={"x-request-id": "two\twords"})
        refused = raw_reply(client, b"nonsense\r\n\r\n")
        without_host = raw_reply(client, b"GET /models HTTP/1.1\r\nx-request-id: mine-2\r\n\r\n")
    server.stop()
    assert ours.headers["x-request-id"] == "mine-1"
    assert re.fullmatch("[0-9a-f]{32}", other.headers["x-request-id"])
    requests = {line["request_id"]: line for line in server.lines() if line["message"] == "request"}
    line = requests["mine-1"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/predict", 200)
    assert line["version"] == store.current(SHIPPED)
    assert line["duration_ms"] > 0
    assert requests[other.headers["x-request-id"]]["status"] == 404
    assert requests[other.headers["x-request-id"]]["version"] == store.current(SHIPPED)
    line = requests[refused.headers["x-request-id"]]
    assert (line["method"], line["path"], line["status"]) == ("-", "-", 400)
    line = requests["mine-2"]
    assert without_host.headers["x-request-id"] == "mine-2"
    assert (line["method"], line["path"], line["status"]) == ("GET", "/models", 400)


def test_the_documentation_page_needs_no_other_host(client: httpx.Client) -> None:
    page = client.get("/docs").text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert sources
    for source in sources:
        assert source.startswith("/"), source
        assert client.get(source).is_success


def _operations(client: httpx.Client) -> dict[tuple[str, str], Any]:
    paths = client.get("/openapi.json").json()["paths"]
    return {(method, path): operation for path, methods in paths.items() for method, operation in methods.items()}


@pytest.mark.parametrize("path", ["/", "/docs", "/health/live", "/health/ready", "/metrics", "/models"])
def test_head_is_get_without_a_body(client: httpx.Client, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"] if path != "/" else True


def test_every_call_is_documented(client: httpx.Client) -> None:
    operations = _operations(client)
    assert {operation for operation in operations if not operation[1].startswith(("/v1", "/v2"))} == {
        ("post", "/predict"),
        ("post", "/predict/batch"),
        ("get", "/models"),
        ("get", "/models/{version}"),
        ("post", "/models/{version}/activate"),
        ("post", "/retrain"),
        ("get", "/jobs"),
        ("get", "/jobs/{job}"),
        ("delete", "/jobs/{job}"),
        ("get", "/jobs/{job}/events"),
        ("post", "/feedback"),
        ("get", "/feedback"),
        ("get", "/feedback/export"),
        ("delete", "/feedback/{correction}"),
        ("get", "/health/live"),
        ("get", "/health/ready"),
        ("get", "/metrics"),
    }
    for operation in operations.values():
        assert operation["summary"]
        assert operation["description"]


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_the_worked_examples_work(client: httpx.Client, path: str) -> None:
    operation = _operations(client)["post", path]
    examples = operation["requestBody"]["content"]["application/json"]["examples"]
    assert len(examples) == 2
    for example in examples.values():
        reply = client.post(path, json=example["value"])
        assert reply.status_code == 200
        first = reply.json()["predictions"][0] if path == "/predict/batch" else reply.json()
        assert first["digit"] == 7
