"""Progress on a terminal, in a log, and as lines for another program."""

import dataclasses
import io
import json
import math
import os
import pty
import re
import select
from pathlib import Path
from typing import Any

import pytest

from app.retraining.progress import Progress
from training import progress
from training.progress import JsonLines, progress_bar


def step(batch: int) -> Progress:
    return Progress(12, 40, batch, 469, 0.0321, 0.9912, 754.0, val_loss=0.02, val_accuracy=0.995)


def test_on_a_narrow_terminal_it_rewrites_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        with progress_bar(stream) as report:
            report(step(100))
        stream.flush()
        written = ""
        while "\x1b[?25h" not in written:  # the cursor is shown again at the end
            assert select.select([leader], [], [], 10)[0], written
            written += os.read(leader, 10_000).decode()
    os.close(leader)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written)
    assert "epoch 12/40" in text
    assert "12:34 left" in text
    assert max(map(len, re.split(r"[\r\n]+", text))) <= 60


def test_in_a_log_it_writes_a_line_an_epoch(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream, progress_bar(stream) as report:
        for batch in (1, 468, 469):
            report(step(batch))
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
