"""The log's lines about requests."""

import io
import json
import logging

import pytest
from app.api.express import MOST, PATH

from app import logs
from app.api import access

PIPE_BUF = 4096  # POSIX lets it be as little as 512; this is Linux's


class Stream(io.StringIO):
    """Knows what was written at once."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return len(text)


def test_lines_of_several_requests_are_whole_on_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream()
    monkeypatch.setattr(logs._ours, "stream", stream)
    monkeypatch.setattr(logging.getLogger(), "handlers", [logs._ours])  # here, since pytest adds its own before
    monkeypatch.setattr(logging.getLogger("digits.access"), "isEnabledFor", lambda level: True)
    longest = access.line("x" * 64, "POST", PATH, 200, 123.45678, 123456)
    logs.answered([longest | {"request_id": f"{number:064}"} for number in range(MOST)])
    text = "".join(stream.pieces)
    lines = [json.loads(line) for line in text.splitlines()]
    assert text.endswith("\n")
    assert [int(line["request_id"]) for line in lines] == list(range(MOST))
    assert {line["message"] for line in lines} == {"request"}
    assert len(stream.pieces) < MOST
    assert max(len(piece.encode()) for piece in stream.pieces) < PIPE_BUF
