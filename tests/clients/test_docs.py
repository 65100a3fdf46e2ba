"""Every example in docs/clients.md prints what the page says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "clients.md").read_text()

# A block of code, and the block with its output.
EXAMPLES = re.findall(r"```(python|sh)\n(.*?)```\n+```\n(.*?)```", PAGE, re.DOTALL)


def test_all_examples_are_found() -> None:
    assert len(EXAMPLES) == len(re.findall(r"^```(?:python|sh)$", PAGE, re.MULTILINE)) == 8


@pytest.mark.parametrize(("language", "code", "output"), EXAMPLES, ids=[str(n) for n in range(len(EXAMPLES))])
def test_an_example_prints_its_output(address: str, language: str, code: str, output: str) -> None:
    program = [sys.executable] if language == "python" else ["bash"]
    code = code.replace("127.0.0.1:8000", address)
    done = subprocess.run([*program, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.rstrip() == output.rstrip(), done.stderr
