"""Tables: columns of numbers and categories, and a target; from CSV files or from memory."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from base.data.target_transforms import AnyTransform, as_target_transform, fit_target_transform
from data_loader.csv_table import CsvTable, find_fault, parse_number, parse_numbers, read_csv
from utils.errors import UserError

MAX_CATEGORIES = 1000  # of a column
MAX_SHOWN = 5  # unknown categories in a warning
ADVICE = "; name it in categories, or in numbers the columns to use"


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
        target_transform: AnyTransform | None = None,
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
        columns = [parse_numbers(table, name, ADVICE) for name in self.numbers]
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
                if not math.isnan(
                    parse_number(table.columns[target][0])
                ):  # most likely a fault in a later row
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
            values = values.reshape(len(values), -1)
            found["target"] = fit_target_transform(self.target_transform, values)
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
            positions = {category: position for position, category in enumerate(known[name])}
            found = torch.tensor([positions.get(value, -1) for value in values])
            columns.append((found[:, None] == torch.arange(len(positions))).double())
            unknown = sorted(set(values) - set(positions))
            if unknown:
                logging.getLogger("data_loader").warning(
                    "%s: the training data have no '%s', so all its columns are 0 in %d rows.",
                    name,
                    "', '".join(unknown[:MAX_SHOWN]),
                    int((found < 0).sum()),
                )
        return torch.cat(columns, 1).float()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs[index], self.targets[index]

    def read(self, path: str | Path) -> Iterator[tuple[str, Any]]:
        """Reads the inputs in a CSV file, which needs no target.

        Returns:
            For each row a name, and an input (F,) or the error that names its fault.

        Raises:
            UserError: a column is missing, or the file cannot be read.
        """
        table = read_csv(path, [*self.numbers, *self.categories], strict=False)
        faults = table.faults | self._find_faults(table)
        rows = [row for row in range(len(table)) if row not in faults]
        good = table.select(rows)
        cells = {name: good.columns[name] for name in self.categories}
        inputs = iter(self._encode(self._read_numbers(good), cells))
        for row, line in enumerate(table.lines):
            yield f"{Path(path).name}:{line}", faults[row] if row in faults else next(inputs)

    def _find_faults(self, table: CsvTable) -> dict[int, UserError]:
        """The first fault of each row that has one, among the cells that must be numbers."""
        found = {}
        for name in self.numbers:
            for row in range(len(table)):
                fault = (
                    None if row in found or row in table.faults else find_fault(table, name, row)
                )
                if fault is not None:
                    found[row] = fault
        return found


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
        target_transform: AnyTransform | None = None,
    ) -> None:
        table = read_csv(path)
        given = {"target": target, "numbers": numbers, "categories": categories}
        for key, value in given.items():
            table.check_names([value] if isinstance(value, str) else value or [], key)
        super().__init__(table, target, numbers, categories, classify, target_transform)


class Diabetes(TableDataset):
    """scikit-learn's 442 diabetes patients, with ten columns (Efron et al. 2004).

    The target is a measure of the disease's progress after a year, from 25 to 346.

    Args:
        target_transform: see TableDataset.
    """

    def __init__(self, target_transform: AnyTransform | None = None) -> None:
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
