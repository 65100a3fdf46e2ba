"""Draws the plot of docs/benchmarks.md from the first table on that page."""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.service import ROOT

PAGE, OUTPUT = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "images" / "serving.png"
OURS_COLOUR, PEER_COLOUR, TEXT_COLOUR = "#0969da", "#afb8c1", "#1f2328"
DPI = 150


def add_to(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("plot", help=__doc__, description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="default: %(default)s")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> bool:
    """Draw it."""
    draw(*read_table(PAGE.read_text()), options.output)
    return True


def read_table(page: str) -> tuple[list[str], dict[str, list[int]]]:
    """Read the first table of a page.

    Returns:
        Its column headings without the first, and its rows: a name, and the numbers.
    """
    lines = page.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    head, _, *body = rows
    return head[1:], {name: [int(cell.replace(",", "")) for cell in cells] for name, *cells in body}


def draw(columns: list[str], rows: dict[str, list[int]], output: Path) -> None:
    """A panel of bars for each column, the first row, ours, in a colour of its own."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.1), layout="constrained")
    names = list(rows)
    for column, axes in enumerate(figure.subplots(1, len(columns), sharey=True)):
        values = [rows[name][column] for name in names]
        bars = axes.barh(names, values, color=[OURS_COLOUR, *[PEER_COLOUR] * (len(names) - 1)], height=0.7)
        axes.bar_label(bars, [f"{value:,}" for value in values], padding=4, fontsize=9, color=TEXT_COLOUR)
        axes.set_title(columns[column], fontsize=11, color=TEXT_COLOUR)
        axes.set_xlim(0, 1.28 * max(values))
        axes.set_xticks([])
        axes.tick_params(axis="y", length=0, labelsize=10, labelcolor=TEXT_COLOUR)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    figure.axes[0].invert_yaxis()  # for all, as they share it
    figure.supxlabel("requests a second", fontsize=10, color=TEXT_COLOUR)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=DPI)
