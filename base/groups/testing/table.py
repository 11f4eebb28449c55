"""The numbers of several runs as a table, with their mean and standard deviation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

from utils.tables import format_table

Numbers = Mapping[str, float]
ROUNDING = 1e-9  # a smaller deviation, relative to the mean, is that of rounding


class Table:
    """The numbers of runs, and a row for their mean, their standard deviation, and others.

    Args:
        values: the numbers of each run by name.
        others: more rows by title, such as the numbers of an ensemble.

    Attributes:
        mean, std: by the name of the number. The standard deviation is that of a sample, so it
            needs two runs.
    """

    def __init__(
        self, values: Mapping[str, Numbers], others: Mapping[str, Numbers] | None = None
    ) -> None:
        self.names = list(dict.fromkeys(name for numbers in values.values() for name in numbers))
        columns = {
            name: [numbers[name] for numbers in values.values() if name in numbers]
            for name in self.names
        }
        self.mean = {name: statistics.fmean(column) for name, column in columns.items()}
        self.std = {name: _deviate(column) for name, column in columns.items() if len(column) > 1}
        self.rows: dict[str, Numbers] = {**values, "mean": self.mean}
        if self.std:
            self.rows["std"] = self.std
        self.rows |= others or {}

    def format_lines(self) -> list[str]:
        """Returns a line with the names, and one for each row."""
        lines = [("", *self.names)]
        for title, numbers in self.rows.items():
            cells = [f"{numbers[name]:.6g}" if name in numbers else "" for name in self.names]
            lines.append((title, *cells))
        return format_table(lines)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Returns the rows for a page."""
        return [
            {"run": title} | {name: numbers.get(name, "") for name in self.names}
            for title, numbers in self.rows.items()
        ]


def _deviate(column: list[float]) -> float:
    if not all(map(math.isfinite, column)):
        return math.nan
    deviation = statistics.stdev(column)
    return 0.0 if deviation < ROUNDING * abs(statistics.fmean(column)) else deviation


def replace_nonfinite(numbers: Numbers) -> dict[str, float | None]:
    """Returns the numbers for a JSON file, which has neither NaN nor infinity."""
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
