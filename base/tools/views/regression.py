"""The part of a report about predicted numbers: scores and charts of each target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from base.tools.charts import LineChart, draw_lines, draw_scatter, to_svg
from base.tools.page import Page
from base.tools.views.view import shorten_table

MAX_POINTS = 2000  # of a scatter plot
MAX_CHARTED = 6  # targets with charts of their own

Array = NDArray[Any]


class Regression:
    """Predicted numbers. Each target has charts of its own, because its unit may be another one.

    Args:
        target, prediction: (N, C) float for C targets.
        names: of the targets.
    """

    def __init__(self, target: Array, prediction: Array, names: Sequence[str]) -> None:
        self.target, self.prediction, self.names = target, prediction, names
        self.scores = score_targets(target, prediction, names) if len(names) > 1 else []

    def format_lines(self) -> list[str]:
        """The scores of several targets, for the console."""
        if not self.scores:
            return []
        width = min(30, max(6, *(len(name) for name in self.names)))
        lines = [f"  {'target':<{width}}         r2         mae        rmse"]
        for row in self.scores:
            numbers = [row[key] for key in ("r2", "mae", "rmse")]
            cells = ["-" if number is None else f"{number:.5g}" for number in numbers]
            name = f"{row['target'][:width]:<{width}}"
            lines.append(f"  {name}{cells[0]:>11}{cells[1]:>12}{cells[2]:>12}")
        return shorten_table(lines)

    def add_to(self, page: Page, ending: str) -> None:
        """Adds a table with the scores of each target, and its charts.

        Of more than ``MAX_CHARTED`` targets, those with the lowest R2 have charts.
        """
        page.add_table("Targets" + ending, [_show(row) for row in self.scores])
        shown = list(range(len(self.names)))
        heading = "Predictions"
        if len(shown) > MAX_CHARTED:
            shown = sorted(shown, key=lambda i: _order(self.scores[i]["r2"]))[:MAX_CHARTED]
            count = len(self.names)
            heading = f"Predictions: of {count} targets the {MAX_CHARTED} with the lowest R2"
        charts = [chart for column in shown for chart in self._draw(column)]
        page.add_charts(heading + ending, charts)

    def _draw(self, column: int) -> list[str]:
        """Draws the predictions of a target against its values, and the sizes of its errors."""
        target, prediction = self.target[:, column], self.prediction[:, column]
        name = f"{self.names[column]}: " if len(self.names) > 1 else ""
        points = list(zip(target.tolist(), prediction.tolist(), strict=True))
        shown = points[:: max(1, len(points) // MAX_POINTS)]
        errors = sorted(predicted - right for right, predicted in points)
        percentiles = [
            (errors[int(percent * (len(errors) - 1) / 100)], float(percent))
            for percent in range(101)
        ]
        title = "samples below each error, %" if name else "Samples below each error, %"
        chart = LineChart(name + title, {"%": percentiles}, "error: prediction - target")
        title = "predictions" if name else "Predictions"
        scatter = draw_scatter(name + title, shown, "target", "prediction")
        return [to_svg(scatter), to_svg(draw_lines([chart]))]


def score_targets(target: Array, prediction: Array, names: Sequence[str]) -> list[dict[str, Any]]:
    """R2, mean absolute error and root mean squared error of each target, in its own unit.

    Args:
        target, prediction: (N, C) float.
        names: of the C targets.

    Returns:
        A row for each target. A number that is not finite is None, such as R2 of a constant.
    """
    error = prediction.astype(np.float64) - target
    spread = ((target - target.mean(0, dtype=np.float64)) ** 2).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = 1 - (error**2).sum(0) / spread
    columns = {"r2": r2, "mae": np.abs(error).mean(0), "rmse": np.sqrt((error**2).mean(0))}
    return [
        {"target": name}
        | {key: float(v[i]) if np.isfinite(v[i]) else None for key, v in columns.items()}
        for i, name in enumerate(names)
    ]


def _order(r2: float | None) -> float:
    return float("inf") if r2 is None else r2


def _show(row: dict[str, Any]) -> dict[str, Any]:
    titles = {"target": "", "r2": "R2", "mae": "mean absolute error", "rmse": "RMSE"}
    return {title: row[key] for key, title in titles.items()}
