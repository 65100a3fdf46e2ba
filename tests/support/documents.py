"""The documents, and the commands and snippets that they show."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
}


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[str]:
    """The shell commands that a text shows, each on one line."""
    lines = "".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def section(text: str, title: str) -> str:
    """What stands under a heading, up to the next heading of any level."""
    return next(part for part in re.split(r"^#+ ", text, flags=re.MULTILINE) if part.startswith(f"{title}\n"))
