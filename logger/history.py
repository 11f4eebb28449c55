"""History: the epochs of a run as a table, in text and in HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from math import isfinite, nan
from pathlib import Path
from typing import Any, overload

from logger.metrics_file import parse_metrics
from logger.progress import format_number
from utils.numbers import find_families
from utils.tables import format_table

Row = dict[str, Any]
MAX_ROWS = 30  # of a table; the rows of the others stay accessible
GAP = "⋮"  # stands for rows that are left out
FIRST, HIDDEN, LAST = ("epoch", "batch"), ("step",), ("lr", "seconds")  # of the columns


class History(Sequence[Row]):
    """The numbers of all epochs of a run, those before a resume too, and of validations inside.

    It reads ``metrics.jsonl`` whenever it is asked, so it grows during the training.
    ``history[-1]`` is the last row, a dict, and ``history["val_loss"]`` a column, a list with NaN
    where a row has no such number.

    Args:
        path: of ``metrics.jsonl``, which may not exist yet.
        monitor: as ``trainer.monitor``; tables mark the row with the best value.
    """

    def __init__(self, path: Path, monitor: str = "off") -> None:
        self.path, self.monitor = path, monitor

    @property
    def rows(self) -> list[Row]:
        """The rows from the first to the last."""
        try:
            return parse_metrics(self.path.read_text(encoding="utf-8", errors="replace"))
        except OSError:  # there is none yet, or the folder of the run is deleted
            return []

    @property
    def columns(self) -> list[str]:
        """The names of the numbers."""
        return list_columns(self.rows)

    @property
    def best(self) -> Row | None:
        """The row with the best value of the monitored number; None if there is none."""
        rows = self.rows
        index = find_best(rows, self.monitor)
        return None if index is None else rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @overload
    def __getitem__(self, key: int) -> Row: ...

    @overload
    def __getitem__(self, key: slice) -> list[Row]: ...

    @overload
    def __getitem__(self, key: str) -> list[float]: ...

    def __getitem__(self, key: Any) -> Any:
        rows = self.rows
        if not isinstance(key, str):
            return rows[key]
        if not any(key in row for row in rows):
            raise KeyError(f"no {key!r}; the columns are: {', '.join(list_columns(rows))}")
        values = [row.get(key) for row in rows]
        return [nan if value is None else value for value in values]

    def __repr__(self) -> str:
        table = self.make_table()
        return "\n".join(format_table(table)) if table else "No epoch has ended yet."

    def _repr_html_(self) -> str:
        return to_html(self.make_table()) or "No epoch has ended yet."

    def make_table(self, max_rows: int = MAX_ROWS) -> list[tuple[str, ...]]:
        """Returns the cells: a head, and a row for each epoch; empty if there is none yet.

        Args:
            max_rows: of a longer history, the first row, the best one and the last ones are shown.
        """
        rows = self.rows
        if not rows:
            return []
        best = find_best(rows, self.monitor)
        columns = [name for name in arrange(list_columns(rows)) if name not in HIDDEN]
        table = [(*columns, "")]
        shown = choose_rows(len(rows), best, max_rows)
        for index, before in zip(shown, [-1, *shown], strict=False):
            if index > before + 1:
                table.append((GAP, *[""] * len(columns)))
            mark = "* best" if index == best else ""
            table.append((*(format_cell(name, rows[index].get(name)) for name in columns), mark))
        return table


def list_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the names of the numbers in the rows, in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def arrange(names: Sequence[str]) -> list[str]:
    """Orders the columns for a table, without counted numbers such as ``mae_1``, ``mae_2``, …."""
    counted = {name for members in find_families(names).values() for name in members}
    middle = [name for name in names if name not in (*FIRST, *LAST) and name not in counted]
    return [name for name in (*FIRST, *middle, *LAST) if name in names]


def find_best(rows: Sequence[Mapping[str, Any]], monitor: str) -> int | None:
    """Returns the index of the first row with the best value; None if no row has one.

    Args:
        rows: of the table.
        monitor: ``min METRIC``, ``max METRIC`` or ``off``.
    """
    mode, _, metric = monitor.partition(" ")
    values = {index: row.get(metric.strip()) for index, row in enumerate(rows)}
    found = {i: v for i, v in values.items() if isinstance(v, int | float) and isfinite(v)}
    if not found:
        return None
    choose = min if mode == "min" else max
    return choose(found, key=lambda index: found[index])


def choose_rows(count: int, best: int | None, max_rows: int) -> list[int]:
    """Chooses the rows of a table: the first, the best, and the last ones."""
    if count <= max_rows:
        return list(range(count))
    kept = {0} if best is None else {0, best}
    return sorted(kept | set(range(count - max(1, max_rows - len(kept)), count)))


def format_cell(name: str, value: Any) -> str:
    """Formats a number for a table; an empty text for none."""
    if name == "seconds" and isinstance(value, float):
        return f"{value:.1f}"
    return "" if value is None else format_number(value)


def to_html(table: Sequence[Sequence[str]]) -> str:
    """Returns a table as HTML that needs no style sheet. The row of the best epoch is bold."""
    if not table:
        return ""
    cell = '<t{0} style="text-align:right;white-space:nowrap;{1}">{2}</t{0}>'
    lines = ["".join(cell.format("h", "", escape(name)) for name in table[0])]
    for row in table[1:]:
        weight = "font-weight:bold" if row[-1] else ""
        lines.append("".join(cell.format("d", weight, escape(text)) for text in row))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div style="overflow-x:auto"><table>{body}</table></div>'
