"""Progress on a terminal, in a log, and as lines for another program."""

import dataclasses
import fcntl
import io
import json
import math
import os
import pty
import select
import struct
import termios
from typing import Any

import pytest

from app.retraining.progress import Progress
from training import progress
from training.progress import JsonLines, ProgressBar


def step(batch: int) -> Progress:
    return Progress(12, 40, batch, 469, 0.0321, 0.9912, 754.0, val_loss=0.02, val_accuracy=0.995)


def test_on_a_narrow_terminal_it_rewrites_one_line() -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    with os.fdopen(follower, "w") as stream:
        bar = ProgressBar(stream)
        for batch in (100, 200):
            bar.drawn = 0  # as if a tenth of a second had passed
            bar(step(batch))
        written = ""
        while written.count(" left") < 2:  # a terminal hands on what was written piece by piece
            assert select.select([leader], [], [], 10)[0], written
            written += os.read(leader, 10_000).decode()
    os.close(leader)
    updates = written.split("\r\033[K")[1:]
    assert len(updates) == 2
    for update in updates:
        assert len(update) < 60
        assert update.startswith("epoch 12/40 [")
        assert "12:34 left" in update


def test_in_a_log_it_writes_a_line_an_epoch(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with (tmp_path / "log").open("w") as stream:
        bar = ProgressBar(stream)
        for batch in (1, 468, 469):
            bar(step(batch))
    assert (tmp_path / "log").read_text().splitlines() == [str(step(469))]


@pytest.mark.parametrize("sent", [step(1), dataclasses.replace(step(469), val_loss=None, val_accuracy=None)])
def test_a_line_of_json_comes_back_as_it_was(sent: Progress) -> None:
    assert "\n" not in sent.to_json()
    assert Progress.from_json(sent.to_json()) == sent
    assert Progress.from_json(sent.to_json().encode() + b"\n") == sent


def test_a_training_that_diverges_still_writes_json() -> None:
    line = dataclasses.replace(step(1), loss=math.nan, val_loss=math.inf).to_json()
    values = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (values["loss"], values["val_loss"]) == (None, None)
    assert math.isnan(Progress.from_json(line).loss)


def changed(**values: Any) -> str:
    return json.dumps(json.loads(step(1).to_json()) | values)


@pytest.mark.parametrize(
    "line",
    [
        "",
        b"\xff",
        "epoch 1/2",
        "[]",
        "{}",
        "[" * 99_999,
        changed(colour="red"),
        changed(epoch=41),
        changed(batch=0),
        changed(batches=2.5),
        changed(epochs=True),
        changed(loss="0.1"),
        changed(val_accuracy=[]),
        changed(seconds_left=10**400),
    ],
)
def test_what_is_not_a_line_of_progress(line: str | bytes) -> None:
    with pytest.raises(ValueError):
        Progress.from_json(line)


def test_lines_come_twice_a_second_and_at_an_epochs_end(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, now = io.StringIO(), 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    lines = JsonLines(stream)
    for batch in range(1, 469):  # eight a second
        lines(step(batch))
        now += 0.125
    lines(step(469))
    batches = [Progress.from_json(line).batch for line in stream.getvalue().splitlines()]
    assert batches == [*range(1, 469, 4), 469]
