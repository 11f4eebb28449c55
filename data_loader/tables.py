"""Tables: columns of numbers and categories, and a target; from CSV files or from memory."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from base.data.target_transforms import (
    AnyTransform,
    as_target_transform,
    fit_target_transform,
    get_std,
)
from data_loader.csv_table import CsvTable, find_fault, looks_like_number, parse_numbers, read_csv
from utils.errors import UserError

MAX_CATEGORIES = 1000  # of a column
MAX_SHOWN = 5  # unknown categories in a warning
ADVICE = "; name it in categories, or in numbers the columns to use"


class TableDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Rows of a table: an input (F,) float, and a target.

    Columns of numbers are scaled to mean 0 and standard deviation 1 of the training rows. A
    category is 1 in a column of its own; one that no row of the training data's table has is 0 in
    all of them. The target is a number, or (T,) numbers for several columns. A target of texts is a
    class. Validation and test data have the columns of the training data, in any order.

    Args:
        table: the cells.
        target: the column to predict, or several columns of numbers.
        numbers: the columns of numbers; None takes all others.
        categories: the columns of categories.
        classify: whether the target is a class; None finds out whether it has texts.
        target_transform: of numbers, with an inverse: of ``base/data/target_transforms.py`` or of
            scikit-learn. It is fitted on the training rows.
        classes: the names of the classes; None takes those in the table, sorted. Name them if a
            table does not have all.

    Attributes:
        target_names: the columns of targets that are numbers.
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
        classes: list[str] | None = None,
    ) -> None:
        self.categories, self.decimal = categories or [], table.decimal
        targets = [target] if isinstance(target, str) else target
        others = [name for name in table.columns if name not in {*targets, *self.categories}]
        self.numbers = others if numbers is None else numbers
        if used := sorted({*self.numbers, *self.categories} & set(targets)):
            raise UserError(f"'{used[0]}' is the target, so it cannot be an input", key="target")
        self.target_transform = as_target_transform(target_transform)
        self._numbers = self._read_numbers(table)
        self._cells = {name: table.columns[name] for name in self.categories}
        self._known = {name: self._list_categories(table, name) for name in self.categories}
        self._target = self._read_target(table, target, classify, classes)
        self.fitted = None

    def _read_numbers(self, table: CsvTable) -> torch.Tensor:
        columns = [parse_numbers(table, name, ADVICE) for name in self.numbers]
        return torch.tensor(np.stack(columns, 1) if columns else np.zeros((len(table), 0)))

    def _list_categories(self, table: CsvTable, name: str, key: str = "categories") -> list[str]:
        known = sorted(set(table.columns[name]))
        if len(known) > MAX_CATEGORIES:
            message = f"'{name}' has {len(known)} different values; is it a column of numbers?"
            raise UserError(message, key=key)
        return known

    def _read_target(
        self,
        table: CsvTable,
        target: str | list[str],
        classify: bool | None,
        classes: list[str] | None,
    ) -> torch.Tensor:
        if classify is None:
            cells = table.columns[target] if isinstance(target, str) else []
            has_numbers = any(looks_like_number(cell, table.decimal) for cell in cells)
            classify = isinstance(target, str) and (classes is not None or not has_numbers)
        if not classify:
            if classes is not None:
                raise UserError("a target of numbers has none", key="classes")
            self.target_names = [target] if isinstance(target, str) else target
            columns = np.stack([parse_numbers(table, name) for name in self.target_names], 1)
            found = torch.tensor(columns, dtype=torch.float32)
            return found[:, 0] if isinstance(target, str) else found
        if not isinstance(target, str):
            raise UserError("must be one column if it is a class, not a list", key="target")
        if self.target_transform is not None:
            raise UserError("does not fit a target of classes", key="target_transform")
        return self._read_classes(table, target, classes)

    def _read_classes(
        self, table: CsvTable, target: str, classes: list[str] | None
    ) -> torch.Tensor:
        cells = table.columns[target]
        if "" in cells:
            raise table.error(cells.index(""), target, "is empty")
        found = self._list_categories(table, target, "target")
        self.classes = found if classes is None else classes
        if unknown := [name for name in found if name not in self.classes]:
            message = f"'{unknown[0]}' is none of the classes {', '.join(self.classes)}"
            raise table.error(cells.index(unknown[0]), target, message)
        return torch.tensor([self.classes.index(cell) for cell in cells])

    def fit_to(self, indices: Any) -> None:
        """Finds mean and spread of the columns, and fits the target's transform."""
        rows = torch.as_tensor(np.asarray(indices))
        numbers, values = self._numbers[rows], self._target[rows]
        found = {
            "numbers": self.numbers,
            "mean": numbers.mean(0).tolist(),
            "std": get_std(numbers).tolist(),
            "categories": self._known,
            "targets": zlib.crc32(values.numpy().tobytes()),  # shows a resumed run a changed file
        }
        if self.target_transform is not None:
            values = values.reshape(len(values), -1)
            found["target"] = fit_target_transform(self.target_transform, values)
        self.fitted = found

    @property
    def fitted(self) -> dict[str, Any] | None:
        return self._fitted

    @fitted.setter
    def fitted(self, found: dict[str, Any] | None) -> None:
        self._fitted, self.targets = found, self._target
        if found is not None:
            self._take_columns(found.get("numbers", self.numbers), [*found["categories"]])
        if found is not None and self.target_transform is not None:
            self.target_transform.state = found["target"]
            self.targets = self.target_transform(self._target)
        self.inputs = self._encode(self._numbers, self._cells)

    def _take_columns(self, numbers: Sequence[str], categories: Sequence[str]) -> None:
        """Brings the columns into the order of the training data, and leaves out all others."""
        wanted = {"numbers": (numbers, self.numbers), "categories": (categories, self.categories)}
        for key, (names, known) in wanted.items():
            if missing := [name for name in names if name not in known]:
                message = f"the training data have '{missing[0]}' among them, and these data do not"
                raise UserError(message, key=key)
        self._numbers = self._numbers[:, [self.numbers.index(name) for name in numbers]]
        self._cells = {name: self._cells[name] for name in categories}
        self.numbers, self.categories = list(numbers), list(categories)

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
        columns = [*self.numbers, *self.categories]
        table = read_csv(path, columns, strict=False, decimal=self.decimal)
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
        target, numbers, categories, classify, target_transform, classes: see TableDataset.
        decimal: the decimal point of the numbers.
    """

    def __init__(
        self,
        path: str,
        target: str | list[str],
        numbers: list[str] | None = None,
        categories: list[str] | None = None,
        classify: bool | None = None,
        target_transform: AnyTransform | None = None,
        classes: list[str] | None = None,
        decimal: Literal[".", ","] = ".",
    ) -> None:
        table = read_csv(path, decimal=decimal)
        given = {"target": target, "numbers": numbers, "categories": categories}
        for key, value in given.items():
            table.check_names([value] if isinstance(value, str) else value or [], key)
        others = numbers, categories, classify, target_transform, classes
        super().__init__(table, target, *others)


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
