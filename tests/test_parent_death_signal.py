"""A tethered command ends with the process that started it, and is otherwise left alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.parent_death_signal import with_parent_death_signal
from tests.conftest import ROOT

PARENT = """
import subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from app.parent_death_signal import tethered
child = subprocess.Popen(tethered(["sleep", "600"]))
print(child.pid, flush=True)
time.sleep(600)
"""


def command_of(pid: int) -> bytes:
    """Of a process that runs; nothing for one that has ended, be it a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills the child")
def test_killing_the_parent_takes_the_child_with_it() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(ROOT)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        deadline = time.monotonic() + 60
        while not command_of(child).startswith(b"sleep"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)
        assert command_of(child)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        while command_of(child):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        parent.kill()
        parent.stdout.close()
        if command_of(child).startswith(b"sleep"):
            os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux watches the parent")
def test_a_parent_that_is_gone_already_starts_nothing(tmp_path: Path) -> None:
    command = with_parent_death_signal(["touch", str(tmp_path / "started")])
    command[command.index(str(os.getpid()))] = "1"
    assert subprocess.run(command, check=False).returncode == 1
    assert not (tmp_path / "started").exists()


def test_output_and_status_are_the_commands() -> None:
    program = "import sys; print(sys.argv[1:], sys.flags.isolated); sys.exit(7)"
    done = subprocess.run(
        with_parent_death_signal([sys.executable, "-c", program, "a b", "--c"]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("['a b', '--c'] 0\n", "", 7)
