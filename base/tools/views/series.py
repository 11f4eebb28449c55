"""The view of forecasts: the error of each step, and series with what was forecast."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from base.loop.collector import Collector
from base.loop.rows import Rows
from base.tools.charts import LineChart, draw_lines, to_svg
from base.tools.page import Page
from base.tools.samples import Samples
from base.tools.views.rows import RowView

N_SHOWN = 6  # forecasts in the report
MAX_CHANNELS = 3  # of them
MAX_STEPS_IN_TABLE = 24
MODEL, LAST, SEASON = "model", "last value", "last season"


class SeriesView(RowView):
    """Shows forecasts (N, H) or (N, H, C) of a dataset with ``get_history(index)``.

    The history is (L,) or (L, C) in real units. If the dataset has ``season``, the forecast is
    also compared with the values of the last season.
    """

    collects = Rows

    @classmethod
    def shows(cls, collector: Collector, samples: Samples) -> bool:
        has_history = callable(getattr(samples.inner, "get_history", None))
        rows = collector.get() if has_history and isinstance(collector, Rows) else None
        return rows is not None and rows[0].ndim > 1 and rows[0].shape == rows[1].shape

    def _align(self, values: NDArray[Any]) -> NDArray[Any]:
        """All steps of a channel have one unit, so they are in one column."""
        return values.reshape(-1, values.shape[2] if values.ndim == 3 else 1)

    def _get_arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The forecasts and the targets, each (N, H, C) float."""
        rows = self.collector.get()
        assert rows is not None
        output, target = (values.numpy().reshape(*values.shape[:2], -1) for values in rows)
        return output, target

    def _get_history(self, row: int) -> NDArray[Any]:
        """The steps before a forecast, (L, C) float."""
        assert self.indices is not None
        dataset, index = self.samples.locate(self.indices[row])
        values = torch.as_tensor(dataset.get_history(index)).numpy()
        return np.asarray(values.reshape(len(values), -1))

    def measure_steps(self) -> dict[str, list[float]]:
        """The mean absolute error of each step: of the model, and of naive forecasts.

        Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 2021, section 5.2.
        """
        output, target = self._get_arrays()
        forecasts = {MODEL: output}
        if self.indices is not None:
            histories = [self._get_history(row) for row in range(len(output))]
            horizon, season = output.shape[1], getattr(self.samples.inner, "season", None)
            forecasts[LAST] = np.stack([np.repeat(h[-1:], horizon, 0) for h in histories])
            if season is not None and season <= len(histories[0]):
                steps = np.arange(horizon) % season - season
                forecasts[SEASON] = np.stack([h[steps] for h in histories])
        return {
            name: np.abs(forecast - target).mean((0, 2)).tolist()
            for name, forecast in forecasts.items()
        }

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"absolute_error_of_steps": self.measure_steps()}

    def format_lines(self) -> list[str]:
        errors = self.measure_steps()
        means = ", ".join(f"{name} {np.mean(values):.4g}" for name, values in errors.items())
        return [*super().format_lines(), f"  Mean absolute error of all steps: {means}"]

    def add_to(self, page: Page, ending: str) -> None:
        errors = self.measure_steps()
        lines = {name: list(enumerate(values, 1)) for name, values in errors.items()}
        chart = LineChart("Mean absolute error of each step", lines, "step")
        page.add_charts("Error by horizon" + ending, [to_svg(draw_lines([chart]))])
        steps = range(min(MAX_STEPS_IN_TABLE, len(errors[MODEL])))
        table = [{"step": i + 1} | {name: v[i] for name, v in errors.items()} for i in steps]
        page.add_table("Mean absolute error" + ending, table)
        page.add_charts("Forecasts" + ending, self._draw_forecasts())
        super().add_to(page, ending)

    def _draw_forecasts(self) -> list[str]:
        """Draws forecasts at even distances in the split, with history and target."""
        if self.indices is None:
            return []
        output, target = self._get_arrays()
        count = len(output)
        rows = np.unique(np.linspace(0, count - 1, min(N_SHOWN, count)).astype(int))
        figures, names = [], self.samples.name_targets(output.shape[2])
        for row in rows.tolist():
            history = self._get_history(row)
            for channel in range(min(output.shape[2], MAX_CHANNELS)):
                name = f", {names[channel]}" if output.shape[2] > 1 else ""
                past = history[:, channel].tolist()
                lines = {"history": list(enumerate(past, 1 - len(past)))}
                for key, values in (("target", target), ("prediction", output)):
                    lines[key] = [(0, past[-1]), *enumerate(values[row, :, channel].tolist(), 1)]
                chart = LineChart(self.get_title(row) + name, lines, "step")
                figures.append(to_svg(draw_lines([chart])))
        return figures
