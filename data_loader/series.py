"""Time series as windows: the steps before, and the steps to forecast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from base.data.target_transforms import AnyTransform, as_target_transform, fit_target_transform
from data_loader.csv_table import parse_numbers, read_csv
from data_loader.times import check_times
from utils.errors import UserError


class WindowDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Windows of a series: ``history`` steps (L, C) float, and the next ``horizon`` steps.

    The target has the shape (H,) for one channel, and (H, C) for several. With a
    ``target_transform``, inputs and targets are scaled by it. It is fitted on the steps of the
    training windows only, channel by channel.

    Use it with ``validation_split_by: time``. The gap that windows need is known: no step is a
    target of both parts.

    Args:
        series: (T,) or (T, C), in real units, in the order of time.
        history: the number of steps before the forecast.
        horizon: the number of steps to forecast.
        stride: the number of steps from one window to the next.
        target_transform: has an inverse: of ``base/data/target_transforms.py`` or scikit-learn.
        season: the length of a season in steps, for the naive forecast in the report.

    Attributes:
        overlap: the following windows that have targets in common with a window.
        fitted: what the transform has found in the training part.
        columns: the names of the channels in the files that ``read`` reads; None if unknown.
        time, decimal: of these files; see CsvSeries.
    """

    columns: list[str] | None = None
    time: str | None = None
    decimal: str = "."

    def __init__(
        self,
        series: Any,
        history: int,
        horizon: int = 1,
        stride: int = 1,
        target_transform: AnyTransform | None = None,
        season: int | None = None,
    ) -> None:
        values = torch.as_tensor(np.asarray(series), dtype=torch.float32)
        for name, value in {"history": history, "horizon": horizon, "stride": stride}.items():
            if value < 1:
                raise UserError(f"{value} must be at least 1", key=name)
        if values.ndim not in (1, 2):
            message = f"must have the shape (T,) or (T, C), not {tuple(values.shape)}"
            raise UserError(f"the series {message}")
        if len(values) < history + horizon:
            message = f"has {len(values)} steps, and a window needs {history} + {horizon}"
            raise UserError(f"the series {message}", key="history")
        if bad := np.flatnonzero(~np.isfinite(values.numpy().reshape(len(values), -1)).all(1)).size:
            raise UserError(f"the series has {bad} steps that are not finite numbers")
        self.is_single = values.ndim == 1
        self.series = values[:, None] if self.is_single else values
        self.history, self.horizon, self.stride, self.season = history, horizon, stride, season
        self.target_transform = as_target_transform(target_transform)
        self._scaled = self.series

    @property
    def target_names(self) -> list[str] | None:
        """The names of the channels for reports."""
        return self.columns

    @property
    def overlap(self) -> int:
        return (self.horizon - 1) // self.stride

    def fit_to(self, indices: Any) -> None:
        """Fits the transform on all steps of the windows at ``indices``."""
        if self.target_transform is None:
            return
        is_used = torch.zeros(len(self.series), dtype=torch.bool)
        for index in np.asarray(indices).tolist():
            start = index * self.stride
            is_used[start : start + self.history + self.horizon] = True
        self.fitted = fit_target_transform(self.target_transform, self.series[is_used])

    @property
    def fitted(self) -> dict[str, Any] | None:
        return None if self.target_transform is None else self.target_transform.state

    @fitted.setter
    def fitted(self, state: dict[str, Any] | None) -> None:
        if self.target_transform is not None and state is not None:
            self.target_transform.state = state
            self._scaled = self.target_transform(self.series)

    def __len__(self) -> int:
        return (len(self.series) - self.history - self.horizon) // self.stride + 1

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        start = index % len(self) * self.stride
        end = start + self.history
        target = self._scaled[end : end + self.horizon]
        return self._scaled[start:end], target[:, 0] if self.is_single else target

    def get_history(self, index: int) -> torch.Tensor:
        """The steps before the forecast in real units: (L,), or (L, C) for several channels."""
        start = index * self.stride
        steps = self.series[start : start + self.history]
        return steps[:, 0] if self.is_single else steps

    def read(self, path: str | Path) -> Iterator[tuple[str, Any]]:
        """Reads the last window of a CSV file, or of each in a folder, to forecast what follows.

        A file has a line of names, and a column for each channel: those of ``columns``, or all.

        Returns:
            For each file its name, and an input (L, C) or the error that names its fault.

        Raises:
            UserError: a folder has no CSV file.
        """
        files = sorted(Path(path).glob("*.csv")) if Path(path).is_dir() else [Path(path)]
        if not files:
            raise UserError(f"{path} has no file *.csv")
        for file in files:
            try:
                yield file.name, self._read_last_window(file)
            except UserError as error:
                yield file.name, error

    def _read_last_window(self, path: Path) -> torch.Tensor:
        table = read_csv(path, decimal=self.decimal)
        if self.columns is not None:
            table.check_names(self.columns, key="")
            check_times(table, self.time if self.time in table.columns else None, self.columns)
            table.columns = {name: table.columns[name] for name in self.columns}
        count = self.series.shape[1]
        if len(table.columns) != count:
            found = ", ".join(table.columns)
            raise UserError(f"{path}: the model needs {count} columns, and the file has: {found}")
        if len(table) < self.history:
            message = f"has {len(table)} rows, and the model needs the last {self.history} steps"
            raise UserError(f"{path}: {message}")
        table = table.select(range(len(table) - self.history, len(table)))
        columns = [parse_numbers(table, name) for name in table.columns]
        steps = torch.tensor(np.stack(columns, 1), dtype=torch.float32)
        transform = self.target_transform
        return steps if transform is None else transform(steps)  # type: ignore[no-any-return]


class CsvSeries(WindowDataset):
    """Windows of columns of a CSV file, whose rows are in the order of time.

    Args:
        path: the file, with a line of names.
        columns: the names of the channels.
        time: the column of times: dates as 2024-01-31 13:00, or numbers. They must rise. None
            takes the first column of dates, whose faults are only warnings.
        decimal: the decimal point of the numbers.
        history, horizon, stride, target_transform, season: see WindowDataset.
    """

    def __init__(
        self,
        path: str,
        columns: list[str],
        history: int,
        horizon: int = 1,
        stride: int = 1,
        target_transform: AnyTransform | None = None,
        season: int | None = None,
        time: str | None = None,
        decimal: Literal[".", ","] = ".",
    ) -> None:
        table = read_csv(path, decimal=decimal)
        table.check_names(columns, "columns")
        table.check_names([] if time is None else [time], "time")
        check_times(table, time, columns)
        channels = [parse_numbers(table, name) for name in columns]
        series = channels[0] if len(channels) == 1 else np.stack(channels, 1)
        super().__init__(series, history, horizon, stride, target_transform, season)
        self.columns, self.time, self.decimal = columns, time, decimal


class SeasonalSeries(WindowDataset):
    """A generated series: a trend, a day of 24 steps, a week of 7 days, and noise that lasts.

    Args:
        n_steps: the number of steps, as hours.
        noise: the spread of the noise, in the unit of the series, whose mean is about 250.
        history, horizon, target_transform: see WindowDataset.
    """

    def __init__(
        self,
        n_steps: int = 3000,
        history: int = 48,
        horizon: int = 12,
        noise: float = 12.0,
        target_transform: AnyTransform | None = None,
    ) -> None:
        random, hours = np.random.default_rng(0), np.arange(n_steps)
        lasting = np.zeros(n_steps)
        for hour in range(1, n_steps):
            lasting[hour] = 0.8 * lasting[hour - 1] + random.normal(0, noise * 0.6)
        day = 60 * np.sin(2 * np.pi * hours / 24) + 20 * np.cos(4 * np.pi * hours / 24)
        week = 25 * np.sin(2 * np.pi * hours / 168)
        series = 200 + 0.03 * hours + day + week + lasting
        super().__init__(series, history, horizon, 1, target_transform, season=24)
