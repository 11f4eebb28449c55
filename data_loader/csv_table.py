"""CSV files with a line of names: their cells, and faults that name the line and the column."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from utils.errors import UserError, did_you_mean

DELIMITERS = (";", "\t")  # of a file whose line of names has no comma


class CsvTable:
    """The cells of a CSV file, as texts.

    Attributes:
        path: of the file; empty for a table from memory.
        columns: a list of cells for each name.
        lines: the line of the file that each row begins at.
        faults: the errors of rows with another number of cells, which are all empty.
    """

    def __init__(self, path: str, columns: dict[str, list[str]], lines: list[int]) -> None:
        self.path, self.columns, self.lines = path, columns, lines
        self.faults: dict[int, UserError] = {}

    def __len__(self) -> int:
        return len(self.lines)

    def check_names(self, names: Sequence[str], key: str) -> None:
        """Raises UserError, with the config's key of the names, if the table lacks one of them."""
        for name in names:
            if name not in self.columns:
                hint = did_you_mean(name, self.columns) or f"; it has {', '.join(self.columns)}"
                raise UserError(f"{self.path} has no column '{name}'{hint}", key=key)

    def error(self, row: int, column: str, message: str) -> UserError:
        """Makes an error that names the line and the column of a cell."""
        where = f"{self.path}:{self.lines[row]}" if self.path else f"row {row}"
        return UserError(f"{where}: {column}: {message}")

    def select(self, rows: Sequence[int]) -> CsvTable:
        """The table with some of the rows."""
        columns = {name: [cells[row] for row in rows] for name, cells in self.columns.items()}
        return CsvTable(self.path, columns, [self.lines[row] for row in rows])


def read_csv(
    path: str | Path, columns: Sequence[str] | None = None, key: str = "path", strict: bool = True
) -> CsvTable:
    """Reads a CSV file (UTF-8) with a line of names.

    Cells are divided by commas. If the line of names has none, semicolons or tabs may divide them.

    Args:
        path: the file.
        columns: the names to read; None reads all.
        key: the config's key of the names, for the error.
        strict: whether a row with another number of cells than the first line is an error, or is
            noted in ``faults``.

    Raises:
        UserError: the file cannot be read, has no rows, or has no such column; a row has another
            number of cells than the first line.
    """
    names, rows, lines = _read_rows(path)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path}:1: two columns have the name '{twice[0]}'", key="path")
    if not rows:
        raise UserError(f"{path}: has no rows below the names of its columns", key="path")
    faults = {}
    for index, (row, line) in enumerate(zip(rows, lines, strict=True)):
        if len(row) != len(names):
            faults[index] = UserError(
                f"{path}:{line}: has {len(row)} cells for {len(names)} columns"
            )
            rows[index] = [""] * len(names)
    if faults and strict:
        raise next(iter(faults.values()))
    cells = {name: [row[index].strip() for row in rows] for index, name in enumerate(names)}
    table = CsvTable(str(path), cells, lines)
    table.check_names(columns or [], key)
    if columns is not None:
        table.columns = {name: cells[name] for name in columns}
    table.faults = faults
    return table


def _read_rows(path: str | Path) -> tuple[list[str], list[list[str]], list[int]]:
    """The names of the columns, the cells of each row, and the line that each row begins at."""
    try:
        with Path(path).expanduser().open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True, delimiter=find_delimiter(file))
            names = [name.strip() for name in next(reader, [])]
            rows, lines, line = [], [], reader.line_num + 1
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(line)
                line = reader.line_num + 1
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read as CSV: {reason}", key="path") from None
    return names, rows, lines


def find_delimiter(file: TextIO) -> str:
    """What divides the cells of a file, which is at its start."""
    first = file.readline()
    file.seek(0)
    return next((d for d in DELIMITERS if d in first and "," not in first), ",")


def parse_number(cell: str) -> float:
    """The finite number in a cell; NaN if there is none."""
    try:
        number = float(cell)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def find_fault(table: CsvTable, name: str, row: int) -> UserError | None:
    """The error of a cell that is empty or no finite number; None if there is none."""
    cell = table.columns[name][row]
    if not math.isnan(parse_number(cell)):
        return None
    return table.error(row, name, f"'{cell}' is no number" if cell else "is empty")


def parse_numbers(table: CsvTable, name: str, advice: str = "") -> np.ndarray[Any, Any]:
    """The numbers in a column, shape (N,) float.

    Args:
        table: the cells.
        name: of the column.
        advice: what to do if it has no numbers, for the error.

    Raises:
        UserError: a cell is empty or no finite number.
    """
    numbers = np.array([parse_number(cell) for cell in table.columns[name]])
    bad = np.flatnonzero(np.isnan(numbers)).tolist()
    if bad:
        error = find_fault(table, name, bad[0])
        more = f", as in {len(bad) - 1} more rows" if len(bad) > 1 else ""
        raise UserError(f"{error}{more}{advice if len(bad) == len(table) else ''}")
    return numbers
