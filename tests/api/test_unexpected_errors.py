"""An unexpected error: told in the log, and as a problem that says nothing of the inside."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Never

import httpx
import pytest

from app.api import predictions
from app.api.problems import MEDIA_TYPE
from app.inference import manager
from app.inference.engine import OpenVinoEngine
from tests.support.images import SEVEN
from tests.support.servers import served


def broken(*_: Any) -> Never:
    raise ZeroDivisionError("a secret")


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """The real service, in this process, with some parts broken."""
    with served(tmp_path) as client:
        monkeypatch.setattr(predictions, "parse_many", broken)
        monkeypatch.setattr(manager, "manifests", broken)
        monkeypatch.setattr(OpenVinoEngine, "_run", broken)
        yield client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/predict/batch"),  # a plain route
        ("GET", "/models"),  # one of FastAPI's, in a thread
        ("POST", "/predict"),  # the network
    ],
)
def test_it_says_nothing_of_the_inside(
    service: httpx.Client, caplog: pytest.LogCaptureFixture, method: str, path: str
) -> None:
    with caplog.at_level(logging.INFO):
        reply = service.request(method, path, content=SEVEN, headers={"content-type": "image/png"})
        # It goes on. And the line of a request is written before the next request on its connection is read.
        assert service.get("/health/live").json() == {"status": "alive"}
    assert reply.status_code == 500
    assert reply.headers["content-type"] == MEDIA_TYPE
    assert reply.json()["request_id"] == reply.headers["x-request-id"]
    assert "secret" not in reply.text
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.exc_info and record.exc_info[0] for record in told] == [ZeroDivisionError]
    lines = [vars(record) for record in caplog.records if record.getMessage() == "request"]
    assert (lines[0]["path"], lines[0]["status"]) == (path, 500)
