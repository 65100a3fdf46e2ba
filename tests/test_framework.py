"""What is answered before the web framework is there, and what waits for it."""

import concurrent.futures
import errno
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from app import application
from app.database import Database
from tests.conftest import served
from tests.http.test_bad_input import check
from tests.http.test_predictions import SEVEN

PREDICTIONS = {
    "form": {"files": {"file": ("7.png", SEVEN, "image/png")}},
    "raw": {"content": SEVEN, "headers": {"content-type": "image/png"}},
    "several kinds of parameters": {
        "content": SEVEN,
        "headers": {"content-type": "image/png"},
        "params": {"strict": 1},
    },
}


def test_the_framework_and_the_database_are_no_part_of_the_start() -> None:
    program = "import sys, app.main, app.server, app.service; print(*{m.partition('.')[0] for m in sys.modules})"
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "starlette" in imported.stdout.split()
    assert not {"fastapi", "sqlalchemy"} & set(imported.stdout.split())


def test_predictions_and_health_are_answered_before_the_framework_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on, build = threading.Event(), application.build

    def late() -> object:
        assert goes_on.wait(60)
        return build()

    monkeypatch.setattr(application, "build", late)
    try:
        with served(tmp_path) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for body in PREDICTIONS.values():
                assert client.post("/predict", **body).json()["digit"] == 7
            check(client.post("/predict", content=b"?", headers={"content-type": "image/png"}), 422, "")
            assert len(client.post("/predict/batch", files=[("file", SEVEN)] * 3).json()["predictions"]) == 3
            assert client.get("/health/ready").json()["status"] == "ready"
            assert 'path="/predict/batch",status="200"' in client.get("/metrics").text
            with concurrent.futures.ThreadPoolExecutor() as others:
                urls = [f"http://127.0.0.1:{port}/{path}" for path in ("models", "docs", "nothing", "jobs")]
                waiting = [others.submit(httpx.get, url) for url in urls]
                time.sleep(0.3)
                assert not any(reply.done() for reply in waiting)
                goes_on.set()
                assert [reply.result().status_code for reply in waiting] == [200, 200, 404, 200]
    finally:
        goes_on.set()


def test_a_framework_that_does_not_load_is_tried_again_and_predictions_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    attempts, build = 0, application.build

    def broken_twice() -> object:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return build()

    monkeypatch.setattr(application, "build", broken_twice)
    with served(tmp_path) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        check(client.get("/models"), 500, "try again")
        assert client.post("/predict", **PREDICTIONS["raw"]).json()["digit"] == 7
        replies = [client.get("/models") for _ in range(2)]
        assert replies[-1].status_code == 200
    told = [record.getMessage() for record in caplog.records]
    assert told.count("only predictions, health and metrics are answered") == 2


def test_a_database_that_takes_its_time_keeps_nobody_else_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, migrate = threading.Event(), Database.migrate

    def late(self: Database) -> None:
        assert answers.wait(60)
        migrate(self)

    monkeypatch.setattr(Database, "migrate", late)
    try:
        with served(tmp_path) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get("/models").status_code == 200
            answers.set()
            assert client.get("/jobs").json()["jobs"] == []
    finally:
        answers.set()
