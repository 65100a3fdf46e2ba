"""Tables that read well on a terminal and are Markdown."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Align cells in columns: the first to the left, and of the others those that begin with a digit to the right.

    Args:
        head: of the columns.
        rows: a cell for each column.

    Returns:
        Lines of Markdown, without a newline at the end.
    """
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    columns = list(zip(*lines, strict=True))
    widths = [max(3, *map(len, column)) for column in columns]
    right = [False] + [all(cell[:1].isdigit() or not cell for cell in column[1:]) for column in columns[1:]]

    def aligned(cells: Sequence[str]) -> str:
        parts = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(cells, widths, right, strict=True)
        )
        return f"| {' | '.join(parts)} |"

    rule = ["-" * (width - 1) + (":" if to_right else "-") for width, to_right in zip(widths, right, strict=True)]
    return "\n".join([aligned(lines[0]), f"| {' | '.join(rule)} |", *map(aligned, lines[1:])])
