"""The log: one JSON object a line."""

import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app import logs
from tests.support.paths import ROOT

PIPE_BUF = 4096  # POSIX lets it be as little as 512; this is Linux's

REQUEST = {
    "request_id": "x" * 64,
    "method": "POST",
    "path": "/predict/batch",
    "status": 200,
    "duration_ms": 123456.78,
    "version": 123456789,
}


class Stream(io.StringIO):
    """Knows what was written at once."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return len(text)


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def log(stream: Stream) -> logging.Logger:
    """A logger of its own that writes to the stream."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    logger = logging.Logger("digits.test", logging.INFO)
    logger.addHandler(handler)
    return logger


def test_a_line_of_a_request_is_whole_on_a_pipe(log: logging.Logger, stream: Stream) -> None:
    """Several server processes write to the same one, and the system keeps short writes apart."""
    for _ in range(3):
        log.info("request", extra=REQUEST)
    assert len(stream.pieces) == 3
    for piece in stream.pieces:
        assert piece.endswith("}\n")
        assert piece.count("\n") == 1
        assert len(piece.encode()) < PIPE_BUF
        line = json.loads(piece)
        assert {name: line[name] for name in REQUEST} == REQUEST
        assert (line["level"], line["logger"], line["message"]) == ("info", "digits.test", "request")
        assert set(line) == {"time", "level", "logger", "message", *REQUEST}


def test_an_error_is_one_line_with_its_traceback(log: logging.Logger, stream: Stream) -> None:
    try:
        raise ZeroDivisionError("two\nlines")
    except ZeroDivisionError:
        log.exception("unexpected %s", "error")
    (piece,) = stream.pieces
    assert piece.count("\n") == 1
    line = json.loads(piece)
    assert (line["level"], line["message"]) == ("error", "unexpected error")
    assert line["traceback"].startswith("Traceback")
    assert line["traceback"].endswith("ZeroDivisionError: two\nlines")


@pytest.mark.parametrize(
    ("value", "written"),
    [("\ud800", "\ud800"), ('"\\\r\n\x00', '"\\\r\n\x00'), (Path("/tmp"), "/tmp"), (10**30, None), ({1: 2}, None)],
)
def test_whatever_comes_from_outside_can_be_written(
    log: logging.Logger, stream: Stream, value: Any, written: str | None
) -> None:
    log.info("request", extra={"path": value})
    (piece,) = stream.pieces
    piece.encode()  # half a surrogate pair is escaped
    assert piece.count("\n") == 1
    line = json.loads(piece)
    assert written is None or line["path"] == written


PROGRAM = """
import logging, warnings
from app import logs

logs.configure()
logging.getLogger("digits.access").info("request", extra={"status": 200})
logging.getLogger("digits").warning("ours")
logging.getLogger("uvicorn.error").info("the server's")
logging.getLogger("uvicorn.access").info("the server's own line of a request")
logging.getLogger("another.library").info("its chatter")
logging.getLogger("another.library").warning("its warning")
warnings.warn("odd metadata")
"""


def test_what_is_logged_by_whom() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["message"] for line in lines[:4]] == ["request", "ours", "the server's", "its warning"]
    assert [line["logger"] for line in lines[4:]] == ["py.warnings"]
    assert "odd metadata" in lines[4]["message"]
    assert lines[0]["status"] == 200
    assert done.stdout == ""
