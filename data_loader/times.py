"""The times of a series: whether its rows are in order, and whether steps are missing."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from data_loader.csv_table import CsvTable, parse_number
from utils.errors import UserError

MAX_RATIO = 1.5  # of a step to the usual one; months differ less
ADVICE = "; sort the rows, and write local times with their offset from UTC, as 02:30+01:00"


def check_times(table: CsvTable, name: str | None, channels: Sequence[str]) -> None:
    """Checks that times rise from row to row. A gap, which windows would span, gets a warning.

    Args:
        table: the cells.
        name: of the column of times. None takes one whose first cell is a date, if there is any; a
            fault in it is only a warning, because it may mean something else.
        channels: the columns of the series.

    Raises:
        UserError: a cell of the named column is not a time, or not later than the one above it.
    """
    logger = logging.getLogger("data_loader")
    found = find_times(table, channels) if name is None else name
    if found is None:
        return
    try:
        times = np.array([_read_time(table, found, row) for row in range(len(table))])
        _check_order(table, found, times)
    except UserError as error:
        if name is not None:
            raise
        logger.warning("%s. The rows are taken in the order of the file.", error)
        return
    steps = np.diff(times)
    usual_seconds = float(np.median(steps)) if len(steps) else 0.0
    gaps = np.flatnonzero(steps > MAX_RATIO * usual_seconds)
    if len(gaps):
        usual = timedelta(seconds=usual_seconds)
        where = table.error(int(gaps[0]) + 1, found, f"{len(gaps)} steps are longer than {usual}")
        logger.warning("%s. Windows span these gaps as if nothing were missing.", where)


def find_times(table: CsvTable, channels: Sequence[str]) -> str | None:
    """The first column whose first cell is a date, as 2024-01-31; None if there is none."""
    for name, cells in table.columns.items():
        if name not in channels and cells and "-" in cells[0] and _parse_date(cells[0]) is not None:
            return name
    return None


def _check_order(table: CsvTable, name: str, times: NDArray[np.float64]) -> None:
    bad = np.flatnonzero(np.diff(times) <= 0)
    if len(bad):
        row = int(bad[0]) + 1
        more = f", as in {len(bad) - 1} more rows" if len(bad) > 1 else ""
        message = f"{table.columns[name][row]} is not later than the row above it{more}"
        raise table.error(row, name, message + ADVICE)


def _read_time(table: CsvTable, name: str, row: int) -> float:
    cell = table.columns[name][row]
    seconds = _parse_date(cell)
    seconds = parse_number(cell, table.decimal) if seconds is None else seconds
    if math.isnan(seconds):
        message = f"'{cell}' is neither a time, such as 2024-01-31 13:00, nor a number"
        raise table.error(row, name, message)
    return seconds


def _parse_date(cell: str) -> float | None:
    """Seconds since 1970 of a date or time in ISO 8601, in UTC unless it has an offset."""
    try:
        found = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
