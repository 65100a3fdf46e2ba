"""A table in Markdown."""

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[\d.,]+(\s.*)?|-")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; columns of numbers are aligned to the right."""
    right = [all(_NUMBER.fullmatch(row[column]) for row in rows) for column in range(len(head))]
    lines = [head, ["--:" if number else "---" for number in right], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
