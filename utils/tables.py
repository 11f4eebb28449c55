"""Tables for a terminal, and durations in words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import zip_longest

from utils.errors import printable

BOLD = "1"
FAINT = "2"


def paint(text: str, style: str) -> str:
    """Adds an ANSI style to ``text`` if the output is a terminal."""
    return f"\x1b[{style}m{text}\x1b[0m" if sys.stdout.isatty() and text else text


def print_table(rows: Sequence[tuple[str, ...]], notes: Sequence[str] = ()) -> None:
    """Prints rows in aligned columns. The first column is bold and the last one faint.

    Args:
        rows: of cells, as many in each.
        notes: for each row a line below it, or an empty text. Without notes, there are none.
    """
    for cells, note in zip_longest(_align(rows), notes, fillvalue=""):
        print("  ".join([paint(cells[0], BOLD), *cells[1:-1], paint(cells[-1], FAINT)]).rstrip())
        if note:
            print(f"    {paint(printable(note), FAINT)}")


def format_table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Returns rows in aligned columns as plain lines."""
    return ["  ".join(cells).rstrip() for cells in _align(rows)]


def format_duration(seconds: float) -> str:
    """Formats a duration as ``8.3 s``, ``4 min 05 s``, ``2 h 07 min`` or ``3.1 days``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{seconds / 86_400:,.1f} days"


def _align(rows: Sequence[tuple[str, ...]]) -> list[list[str]]:
    """Returns the cells, padded to the width of their columns."""
    rows = [tuple(printable(cell) for cell in row) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        [f"{cell:<{width}}" for cell, width in zip(row, [*widths, 0], strict=True)] for row in rows
    ]
