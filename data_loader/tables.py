"""Tables: columns of numbers and categories, and a target; from CSV files or from memory."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from base.data.target_transforms import as_target_transform
from utils.errors import UserError, did_you_mean

MAX_CATEGORIES = 1000  # of a column


class CsvTable:
    """The cells of a CSV file, as texts.

    Attributes:
        path: of the file; empty for a table from memory.
        columns: a list of cells for each name.
        lines: the line of the file that each row begins at.
    """

    def __init__(self, path: str, columns: dict[str, list[str]], lines: list[int]) -> None:
        self.path, self.columns, self.lines = path, columns, lines

    def __len__(self) -> int:
        return len(self.lines)

    def error(self, row: int, column: str, message: str) -> UserError:
        """Makes an error that names the line and the column of a cell."""
        where = f"{self.path}:{self.lines[row]}" if self.path else f"row {row}"
        return UserError(f"{where}: {column}: {message}")


def read_csv(path: str | Path, columns: Sequence[str] | None = None, key: str = "path") -> CsvTable:
    """Reads a CSV file (UTF-8) with a line of names.

    Args:
        path: the file.
        columns: the names to read; None reads all.
        key: the config's key of the names, for the error.

    Raises:
        UserError: the file cannot be read, has no rows, or has no such column; a row has another
            number of cells than the first line.
    """
    try:
        with Path(path).expanduser().open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
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
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{path}:1: two columns have the name '{twice[0]}'", key="path")
    for name in columns or ():
        if name not in names:
            hint = did_you_mean(name, names) or f"; it has {', '.join(names)}"
            raise UserError(f"{path} has no column '{name}'{hint}", key=key)
    if not rows:
        raise UserError(f"{path}: has no rows below the names of its columns", key="path")
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise UserError(f"{path}:{line}: has {len(row)} cells for {len(names)} columns")
    chosen = names if columns is None else columns
    found = {name: [row[names.index(name)].strip() for row in rows] for name in chosen}
    return CsvTable(str(path), found, lines)


def parse_numbers(table: CsvTable, name: str) -> np.ndarray[Any, Any]:
    """The numbers in a column, shape (N,) float.

    Raises:
        UserError: a cell is empty or no finite number.
    """
    numbers = []
    for row, cell in enumerate(table.columns[name]):
        try:
            number = float(cell)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise table.error(row, name, f"'{cell}' is no number" if cell else "is empty")
        numbers.append(number)
    return np.array(numbers)


class TableDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Rows of a table: an input (F,) float, and a target.

    Columns of numbers are scaled to mean 0 and standard deviation 1 of the training rows. A
    category is 1 in a column of its own; one that no row of the training data's table has is 0 in
    all of them. The target is a number, or (T,) numbers for several columns. A target of texts is a
    class.

    Args:
        table: the cells.
        target: the column to predict, or several columns of numbers.
        numbers: the columns of numbers; None takes all others.
        categories: the columns of categories.
        classify: whether the target is a class; None finds out whether it has texts.
        target_transform: of numbers, with an inverse: of ``base/data/target_transforms.py`` or of
            scikit-learn. It is fitted on the training rows.

    Attributes:
        classes: the names of the classes, sorted.
        fitted: what was found in the training rows.
    """

    def __init__(
        self,
        table: CsvTable,
        target: str | list[str],
        numbers: list[str] | None = None,
        categories: list[str] | None = None,
        classify: bool | None = None,
        target_transform: Any = None,
    ) -> None:
        self.categories = categories or []
        targets = [target] if isinstance(target, str) else target
        others = [name for name in table.columns if name not in {*targets, *self.categories}]
        self.numbers = others if numbers is None else numbers
        if used := sorted({*self.numbers, *self.categories} & set(targets)):
            raise UserError(f"'{used[0]}' is the target, so it cannot be an input", key="target")
        self.target_transform = as_target_transform(target_transform)
        self._numbers = self._read_numbers(table)
        self._cells = {name: table.columns[name] for name in self.categories}
        self._known = {name: self._list_categories(table, name) for name in self.categories}
        self._target = self._read_target(table, target, classify)
        self.fitted = None

    def _read_numbers(self, table: CsvTable) -> torch.Tensor:
        columns = [parse_numbers(table, name) for name in self.numbers]
        return torch.tensor(np.stack(columns, 1) if columns else np.zeros((len(table), 0)))

    def _list_categories(self, table: CsvTable, name: str) -> list[str]:
        known = sorted(set(table.columns[name]))
        if len(known) > MAX_CATEGORIES:
            message = f"'{name}' has {len(known)} different values; is it a column of numbers?"
            raise UserError(message, key="categories")
        return known

    def _read_target(
        self, table: CsvTable, target: str | list[str], classify: bool | None
    ) -> torch.Tensor:
        if isinstance(target, str) and classify is None:
            try:
                parse_numbers(table, target)
            except UserError:
                if _is_number(table.columns[target][0]):  # most likely a fault in a later row
                    raise
                classify = True
        if not classify:
            names = [target] if isinstance(target, str) else target
            columns = np.stack([parse_numbers(table, name) for name in names], 1)
            found = torch.tensor(columns, dtype=torch.float32)
            return found[:, 0] if isinstance(target, str) else found
        if self.target_transform is not None or not isinstance(target, str):
            message = "does not fit a target of classes" if isinstance(target, str) else "takes one"
            key = "target_transform" if isinstance(target, str) else "target"
            raise UserError(message, key=key)
        cells = table.columns[target]
        self.classes = sorted(set(cells))
        return torch.tensor([self.classes.index(cell) for cell in cells])

    def fit_to(self, indices: Any) -> None:
        """Finds mean and spread of the columns, and fits the target's transform."""
        rows = self._numbers[torch.as_tensor(np.asarray(indices))]
        std = rows.std(0, correction=0)
        std = torch.where(std > 0, std, torch.ones_like(std))
        found = {"mean": rows.mean(0).tolist(), "std": std.tolist(), "categories": self._known}
        if self.target_transform is not None:
            values = self._target[torch.as_tensor(np.asarray(indices))]
            self.target_transform.fit(values.reshape(len(values), -1))
            found["target"] = self.target_transform.state
        self.fitted = found

    @property
    def fitted(self) -> dict[str, Any] | None:
        return self._fitted

    @fitted.setter
    def fitted(self, found: dict[str, Any] | None) -> None:
        self._fitted, self.targets = found, self._target
        if found is not None and self.target_transform is not None:
            self.target_transform.state = found["target"]
            self.targets = self.target_transform(self._target)
        self.inputs = self._encode(self._numbers, self._cells)

    def _encode(self, numbers: torch.Tensor, cells: dict[str, list[str]]) -> torch.Tensor:
        known = self._known
        if self._fitted is not None:
            mean, std = (torch.tensor(self._fitted[key]).double() for key in ("mean", "std"))
            numbers, known = (numbers - mean) / std, self._fitted["categories"]
        columns = [numbers]
        for name, values in cells.items():
            is_value = [[value == category for category in known[name]] for value in values]
            columns.append(torch.tensor(is_value, dtype=torch.float64))
        return torch.cat(columns, 1).float()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs[index], self.targets[index]

    def read(self, path: str | Path) -> Iterator[tuple[str, torch.Tensor]]:
        """Reads the inputs in a CSV file, which needs no target: a name and an input (F,) a row.

        Raises:
            UserError: a column is missing, or a cell is no number.
        """
        table = read_csv(path, [*self.numbers, *self.categories])
        cells = {name: table.columns[name] for name in self.categories}
        inputs = self._encode(self._read_numbers(table), cells)
        for line, values in zip(table.lines, inputs, strict=True):
            yield f"{Path(path).name}:{line}", values


class CsvDataset(TableDataset):
    """A table in a CSV file (UTF-8) with a line of names.

    Args:
        path: the file.
        target, numbers, categories, classify, target_transform: see TableDataset.
    """

    def __init__(
        self,
        path: str,
        target: str | list[str],
        numbers: list[str] | None = None,
        categories: list[str] | None = None,
        classify: bool | None = None,
        target_transform: Any = None,
    ) -> None:
        given = {"target": target, "numbers": numbers, "categories": categories}
        for key, value in given.items():
            read_csv(path, [value] if isinstance(value, str) else value, key)
        super().__init__(read_csv(path), target, numbers, categories, classify, target_transform)


class Diabetes(TableDataset):
    """scikit-learn's 442 diabetes patients, with ten columns (Efron et al. 2004).

    The target is a measure of the disease's progress after a year, from 25 to 346.

    Args:
        target_transform: see TableDataset.
    """

    def __init__(self, target_transform: Any = None) -> None:
        from sklearn.datasets import load_diabetes

        data = load_diabetes(scaled=False)
        columns = {
            name: [repr(float(value)) for value in column]
            for name, column in zip(data.feature_names, data.data.T, strict=True)
        }
        columns["sex"] = [f"{float(cell):.0f}" for cell in columns["sex"]]
        columns["progress"] = [repr(float(value)) for value in data.target]
        table = CsvTable("", columns, list(range(len(data.target))))
        super().__init__(table, "progress", None, ["sex"], False, target_transform)


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
