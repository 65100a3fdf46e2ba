"""The progress bar on a terminal and in a log."""

import fcntl
import os
import pty
import struct
import termios

from training.progress import Progress, ProgressBar


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
        written = os.read(leader, 10_000).decode()
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
