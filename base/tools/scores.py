"""The scores of one test set: intervals, classes, predictions, samples to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from base.loop.reporter import SetResult, TestSubject
from base.tools.charts import LineChart, draw_confusion_matrix, draw_lines, draw_scatter, to_svg
from base.tools.intervals import Intervals, bootstrap_intervals
from base.tools.page import Page, Sample
from base.tools.results import Results, describe_loss
from base.tools.samples import Samples

MAX_SAMPLES = 16  # of a kind in the report
MAX_POINTS = 2000  # of a scatter plot
MAX_DRAWN_CLASSES = 60  # of a confusion matrix
MAX_CONSOLE_CLASSES = 20


class Scores:
    """Computes the scores of a checkpoint on one test set.

    Args:
        result: of the test on the set.
        subject: the model. A criterion that is a module is moved to the CPU, where the rows are.

    Attributes:
        values, intervals: the numbers and their confidence intervals by name.
        reasons: why a number has no interval.
        results: the predictions; None if the rows were not kept.
        classes: a row of scores for each class.
    """

    def __init__(self, result: SetResult, subject: TestSubject) -> None:
        metrics = result.metrics
        rows = None if metrics.rows is None else metrics.rows.get()
        self.name, self.values, self.n_samples = result.name, result.values, result.n_samples
        self.samples = Samples(result.loader)
        loss = describe_loss(subject.criterion)
        classes, task = self.samples.classes, subject.task
        self.results = Results(*rows, classes, loss, task) if rows else None
        self.classes = self.results.score_classes() if self.results is not None else []
        self.units = metrics.units
        self.intervals, self.reasons = bootstrap_intervals(
            rows, subject.criterion, metrics.metrics, result.values, metrics.units, metrics.labels
        )
        order = [index for batch in self.samples.order() or [] for index in batch]
        self.indices = order if rows and len(order) == len(rows[1]) else None

    def format_lines(self) -> list[str]:
        """Returns the numbers with their intervals, and a line for each class."""
        lines = [f"{self.name}: {self.n_samples:,} samples"] if self.name else []
        width = max(15, *map(len, self.values))
        for name, value in self.values.items():
            line = f"  {name:<{width}} {value:<10.6g} {self._format_interval(name)}"
            lines.append(line.rstrip())
        lines += [f"  {sentence}" for sentence in self.list_notes()]
        if self.results is not None and not self.results.kind:
            lines.append("  The report shows no predictions: the task is unknown, or does not fit")
            lines.append("  the outputs. Set task: classification, multilabel or regression.")
        if not self.classes:
            return lines
        width = min(30, max(5, *(len(row["class"]) for row in self.classes)))
        lines.append(f"  {'class':<{width}} precision  recall      f1  support")
        for row in self.classes[:MAX_CONSOLE_CLASSES]:
            name = f"{row['class'][:width]:<{width}}"
            scores = f"{row['precision']:9.4f}  {row['recall']:6.4f}  {row['f1']:6.4f}"
            lines.append(f"  {name} {scores}  {row['support']:7d}")
        if len(self.classes) > MAX_CONSOLE_CLASSES:
            more = len(self.classes) - MAX_CONSOLE_CLASSES
            lines.append(f"  … and {more} more in the report")
        return lines

    def list_notes(self) -> list[str]:
        """Says which numbers have no interval, and why, and which are of scaled targets."""
        notes = Intervals(self.intervals, self.reasons).format_reasons()
        if self.units is not None and "loss" in self.values:
            kind = type(self.units.transform).__name__
            notes.append(f"The loss is of targets scaled by {kind}; all else is in real units.")
        return notes

    def _format_interval(self, name: str) -> str:
        low, high = self.intervals.get(name, (None, None))
        return "" if low is None else f"[{low:.4g}, {high:.4g}]"

    def format_value(self, name: str) -> str:
        """Returns a number with its interval; empty if the set has none of this name."""
        if name not in self.values:
            return ""
        return f"{self.values[name]:.4g} {self._format_interval(name)}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """Returns numbers, intervals and classes. NaN and infinity become None."""
        metrics = {
            name: value if math.isfinite(value) else None for name, value in self.values.items()
        }
        numbers = {"metrics": metrics, "intervals": self.intervals}
        return numbers | {"no_interval": self.reasons, "classes": self.classes}

    def list_predictions(self) -> list[list[Any]]:
        """Lists the rows of a table: for each sample its target and its prediction."""
        assert self.results is not None
        rows: list[list[Any]] = [["index", "target", "prediction", "confidence", "path"]]
        for row in range(len(self.results.target)):
            index = row if self.indices is None else self.indices[row]
            path = None if self.indices is None else self.samples.path(index)
            target = self.results.describe(self.results.target[row])
            rows.append([index, target, *self.results.describe_prediction(row), path or ""])
        return rows

    def add_to(self, page: Page) -> None:
        """Adds the charts, the classes and samples to a page."""
        if self.results is None:
            return
        ending = f" · {self.name}" if self.name else ""
        _add_results(page, self.results, ending)
        heading = "Labels" if self.results.kind == "multilabel" else "Classes"
        page.add_table(heading + ending, self.classes)
        self._add_samples(page, self.results, ending)

    def _add_samples(self, page: Page, results: Results, ending: str) -> None:
        is_classification = results.kind == "classification"
        errors = results.most_confident_errors(MAX_SAMPLES)
        heading = "Most confident errors" if is_classification else "Largest errors"
        page.add_samples(heading + ending, [self._get_sample(row, results) for row in errors])
        correct = results.least_confident_correct(MAX_SAMPLES)
        heading = "Least confident correct predictions"
        page.add_samples(heading + ending, [self._get_sample(row, results) for row in correct])

    def _get_sample(self, row: int, results: Results) -> Sample:
        name = f"sample {row}"
        picture = None
        if self.indices is not None:
            index = self.indices[row]
            picture = self.samples.picture(self.samples.fetch(index))
            path = self.samples.path(index)
            name = Path(path).name if path else f"sample {index}"
        target = results.describe(results.target[row])
        prediction = results.describe(results.prediction[row])
        caption = prediction or "none"
        if results.confidence is not None:
            caption += f" {results.confidence[row]:.1%}"
        if target != prediction:
            caption += f", is {target or 'none'}"
        return Sample(name, caption, target == prediction, picture)


def _add_results(page: Page, results: Results, ending: str) -> None:
    """Adds the charts that fit the kind of task."""
    if results.kind == "regression":
        targets, predictions = results.target.ravel(), results.prediction.ravel()
        _add_regression(page, targets.tolist(), predictions.tolist(), ending)
    if results.confusion is not None and len(results.names) <= MAX_DRAWN_CLASSES:
        matrix = draw_confusion_matrix(results.confusion, results.names)
        page.add_charts("Confusion matrix" + ending, [to_svg(matrix)])
    calibration = results.calibrate()
    curve = draw_scatter("Calibration", calibration.points, "confidence", "accuracy", True)
    heading = f"Calibration: expected calibration error {calibration.error:.3g}{ending}"
    page.add_charts(heading, [to_svg(curve)])


def _add_regression(
    page: Page, targets: Sequence[float], predictions: Sequence[float], ending: str
) -> None:
    points = list(zip(targets, predictions, strict=True))
    shown = points[:: max(1, len(points) // MAX_POINTS)]
    errors = sorted(prediction - target for target, prediction in points)
    percentiles = [
        (errors[int(percent * (len(errors) - 1) / 100)], float(percent)) for percent in range(101)
    ]
    title = "Samples below each error, %"
    chart = LineChart(title, {"%": percentiles}, "error: prediction - target")
    scatter = draw_scatter("Predictions", shown, "target", "prediction")
    page.add_charts("Predictions" + ending, [to_svg(scatter), to_svg(draw_lines([chart]))])
