"""A command ends with the process that started it, and is otherwise left alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.parent_death_signal import with_parent_death_signal
from tests.support.paths import ROOT
from tests.support.processes import command_of
from tests.support.waiting import wait_for

PARENT = """
import subprocess, sys
sys.path.insert(0, sys.argv[1])
from app.parent_death_signal import with_parent_death_signal
child = subprocess.Popen(with_parent_death_signal(["sleep", "600"]))
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills the child")
def test_killing_the_parent_takes_the_child_with_it() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(ROOT)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            wait_for(lambda: command_of(child).startswith("sleep"), "the command")
            parent.kill()
            parent.wait()
            wait_for(lambda: not command_of(child), "the end of the command")
        finally:
            parent.kill()
            if command_of(child).startswith("sleep"):
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
