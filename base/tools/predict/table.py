"""Writes the rows of predictions into a file, one by one."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import IO, Any

from utils.errors import UserError

SUFFIXES = (".csv", ".jsonl")


class Table:
    """Writes a CSV, or a JSON object in each line.

    Args:
        file: open for bytes.
        suffix: ``.csv`` or ``.jsonl``.
        columns: their titles.
    """

    def __init__(self, file: IO[bytes], suffix: str, columns: list[str]) -> None:
        self.file, self.is_csv, self.columns = file, suffix == ".csv", columns
        if self.is_csv:
            self._write_cells(columns)

    def write(self, row: list[Any]) -> None:
        """Writes a row. None is an empty cell, or null. Missing cells at its end are empty too."""
        row = row + [None] * (len(self.columns) - len(row))
        if self.is_csv:
            self._write_cells([f"{x:.6g}" if isinstance(x, float) else x for x in row])
            return
        values = dict(zip(self.columns, map(to_json, row), strict=True))
        self._write_text(json.dumps(values, ensure_ascii=False) + "\n")

    def _write_cells(self, cells: list[Any]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        self._write_text(text.getvalue())

    def _write_text(self, text: str) -> None:
        self.file.write(text.encode("utf-8", "replace"))


def to_json(value: Any) -> Any:
    """A value of JSON, which has no NaN: six digits of a number, or null."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None


def check_suffix(path: Path) -> None:
    """Raises UserError if the name of a file does not say which kind it is."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--output {path}: must end in {' or '.join(SUFFIXES)}")
