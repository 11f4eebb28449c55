"""CSV files with a line of names: their cells, and faults that name the line and the column."""

from __future__ import annotations

import csv
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from utils.errors import UserError, did_you_mean

DELIMITERS = (",", ";", "\t")
MAX_NUMBER = float(np.finfo(np.float32).max)  # models compute with float32
WITH_SEPARATORS = re.compile(r"[+-]?\d[\d.,' ]*")  # 1,5 or 1.234,56 or 1 000
THOUSANDS = "; thousands must have no separators"
DECIMAL_COMMA = '; if the commas are decimal, set decimal: ","'


class CsvTable:
    """The cells of a CSV file, as texts.

    Attributes:
        path: of the file; empty for a table from memory.
        columns: a list of cells for each name.
        lines: the line of the file that each row begins at.
        decimal: the decimal point of its numbers, ``.`` or ``,``.
        faults: the errors of rows with another number of cells, which are all empty.
    """

    def __init__(
        self, path: str, columns: dict[str, list[str]], lines: list[int], decimal: str = "."
    ) -> None:
        self.path, self.columns, self.lines, self.decimal = path, columns, lines, decimal
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
        return CsvTable(self.path, columns, [self.lines[row] for row in rows], self.decimal)


def read_csv(
    path: str | Path,
    columns: Sequence[str] | None = None,
    key: str = "path",
    strict: bool = True,
    decimal: str = ".",
) -> CsvTable:
    """Reads a CSV file (UTF-8) with a line of names.

    Cells are divided by commas, or by semicolons or tabs if these give the line more names. Columns
    without a name, such as the index of a data frame, are left out, with a warning.

    Args:
        path: the file.
        columns: the names to read; None reads all.
        key: the config's key of the names, for the error.
        strict: whether a row with another number of cells than the first line is an error, or is
            noted in ``faults``.
        decimal: the decimal point of the numbers.

    Raises:
        UserError: the file cannot be read, has no rows, or has no such column; a row has another
            number of cells than the first line.
    """
    names, rows, lines = _read_rows(path)
    named = {index: name for index, name in enumerate(names) if name}
    if twice := sorted({name for name in named.values() if names.count(name) > 1}):
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
    if len(named) < len(names):
        logger, count = logging.getLogger("data_loader"), len(names) - len(named)
        logger.warning("%s: columns without a name are left out: %d.", path, count)
    cells = {name: [row[index].strip() for row in rows] for index, name in named.items()}
    table = CsvTable(str(path), cells, lines, decimal)
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
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not in UTF-8; save it in this encoding", key="path") from None
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path}: cannot be read as CSV: {reason}", key="path") from None
    if not any(names):
        message = "is empty, and must have the names of the columns"
        raise UserError(f"{path}: its first line {message}", key="path")
    return names, rows, lines


def find_delimiter(file: TextIO) -> str:
    """What divides the cells of a file, which is at its start: it gives the most columns."""
    first = file.readline()
    file.seek(0)
    return max(DELIMITERS, key=lambda d: len(next(csv.reader([first], delimiter=d), [])))


def parse_number(cell: str, decimal: str = ".") -> float:
    """The number in a cell; NaN if there is none that float32 can hold."""
    if "_" in cell or (decimal == "," and "." in cell):  # float() takes 1_000 for a number
        return math.nan
    try:
        number = float(cell.replace(decimal, "."))
    except ValueError:
        return math.nan
    return number if abs(number) <= MAX_NUMBER else math.nan


def looks_like_number(cell: str, decimal: str = ".") -> bool:
    """Whether a cell is a number, or would be one in another notation."""
    is_number = not math.isnan(parse_number(cell, decimal))
    return is_number or WITH_SEPARATORS.fullmatch(cell) is not None


def find_fault(table: CsvTable, name: str, row: int) -> UserError | None:
    """The error of a cell that is empty or no finite number; None if there is none."""
    cell = table.columns[name][row]
    if not math.isnan(parse_number(cell, table.decimal)):
        return None
    return table.error(row, name, f"'{cell}' is not a number" if cell else "is empty")


def parse_numbers(table: CsvTable, name: str, advice: str = "") -> np.ndarray[Any, Any]:
    """The numbers in a column, shape (N,) float.

    Args:
        table: the cells.
        name: of the column.
        advice: what to do if it has no numbers, for the error.

    Raises:
        UserError: a cell is empty or no finite number.
    """
    numbers = np.array([parse_number(cell, table.decimal) for cell in table.columns[name]])
    bad = np.flatnonzero(np.isnan(numbers)).tolist()
    if bad:
        error = find_fault(table, name, bad[0])
        more = f", as in {len(bad) - 1} more rows" if len(bad) > 1 else ""
        if WITH_SEPARATORS.fullmatch(table.columns[name][bad[0]]):
            advice = THOUSANDS if table.decimal == "," else THOUSANDS + DECIMAL_COMMA
        elif len(bad) < len(table):
            advice = ""
        raise UserError(f"{error}{more}{advice}")
    return numbers
