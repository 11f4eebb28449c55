"""The files that test.py writes: numbers as JSON, a table of predictions, an HTML report."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from base.loop.reporter import Reporter, TestResult
from base.tools.charts import LineChart, draw_confusion_matrix, draw_lines, draw_scatter, to_svg
from base.tools.intervals import bootstrap_intervals
from base.tools.page import Page, Sample, draw_curves, format_session
from base.tools.results import Results, describe_loss
from base.tools.run_record import RunRecord
from base.tools.samples import Samples
from utils.errors import UserError
from utils.files import write_text
from utils.provenance import collect_provenance

MAX_SAMPLES = 16  # of a kind in the report
MAX_POINTS = 2000  # of a scatter plot
MAX_DRAWN_CLASSES = 60  # of a confusion matrix
MAX_CONSOLE_CLASSES = 20


class Report(Reporter):
    """Writes the results of a test into the run's folder."""

    def __init__(self, output: Path | None = None) -> None:
        check_output(output)
        super().__init__(output)

    def report(self, result: TestResult, config: Any, logger: logging.Logger) -> None:
        writer = ResultWriter(result)
        logger.info("\n".join(writer.format_lines()))
        for path in writer.write(result.subject.folder, config.plain(), self.output):
            logger.info("Written to %s", path)


class ResultWriter:
    """Computes the scores of a tested checkpoint, and writes them to files.

    Args:
        result: of the test. A criterion that is a module is moved to the CPU, where the rows are.
    """

    def __init__(self, result: TestResult) -> None:
        subject, metrics = result.subject, result.metrics
        rows = None if metrics.rows is None else metrics.rows.get()
        self.about = {
            "checkpoint": str(subject.checkpoint),
            "weights": subject.weights,
            "split": subject.split,
            "epoch": subject.epoch,
            "n_samples": result.n_samples,
        }
        self.values = result.values
        self.samples = Samples(subject.loader)
        loss = describe_loss(subject.criterion)
        classes, task = self.samples.classes, subject.task
        self.results = Results(*rows, classes, loss, task) if rows else None
        self.classes = self.results.score_classes() if self.results is not None else []
        self.intervals = bootstrap_intervals(
            rows, subject.criterion, metrics.metrics, result.values
        )
        order = [index for batch in self.samples.order() or [] for index in batch]
        self.indices = order if rows and len(order) == len(rows[1]) else None

    def format_lines(self) -> list[str]:
        """Returns the numbers with their intervals, and a line for each class."""
        lines = []
        width = max(15, *map(len, self.values))
        for name, value in self.values.items():
            line = f"  {name:<{width}} {value:<10.6g}"
            if name in self.intervals:
                low, high = self.intervals[name]
                line += f" [{low:.4g}, {high:.4g}]"
            lines.append(line.rstrip())
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

    def to_json(self) -> str:
        """Returns facts, numbers, intervals and classes as JSON. NaN and infinity become null."""
        metrics = {
            name: value if math.isfinite(value) else None for name, value in self.values.items()
        }
        scores = {"metrics": metrics, "intervals": self.intervals, "classes": self.classes}
        return json.dumps(self.about | scores, indent=4) + "\n"

    def write(self, folder: Path, config: dict[str, Any], output: Path | None = None) -> list[Path]:
        """Writes ``test/CHECKPOINT.json``, ``test/predictions.csv`` and ``report.html``.

        Args:
            folder: of the run.
            config: of the run, for the report.
            output: one more file for the JSON.

        Returns:
            The files.

        Raises:
            UserError: a file cannot be written, or a link leads out of the folder.
        """
        target = folder / "test"
        stem = Path(str(self.about["checkpoint"])).stem
        files = {output: self.to_json()} if output is not None else {}
        files[target / f"{stem}.json"] = self.to_json()
        if self.results is not None and self.results.kind:
            files[target / "predictions.csv"] = self._to_csv(self.results)
        files[folder / "report.html"] = self._to_html(folder, config)
        if not Path(os.path.realpath(target)).is_relative_to(folder.resolve()):
            message = f"is a symbolic link that leads out of {folder}; nothing is written there"
            raise UserError(f"{target}: {message}")
        return [write_text(path, text) for path, text in files.items()]

    def _to_csv(self, results: Results) -> str:
        rows: list[list[Any]] = [["index", "target", "prediction", "confidence", "path"]]
        for row in range(len(results.target)):
            index = row if self.indices is None else self.indices[row]
            path = None if self.indices is None else self.samples.path(index)
            target = results.describe(results.target[row])
            rows.append([index, target, *results.describe_prediction(row), path or ""])
        return to_csv(rows)

    def _to_html(self, folder: Path, config: dict[str, Any]) -> str:
        about, run = self.about, RunRecord(folder)
        subtitle = (
            f"{about['n_samples']:,} samples of {about['split']}; "
            f"the {about['weights']} after epoch {about['epoch']}"
        )
        page = Page(f"{config.get('name', folder.parent.name)} · {folder.name}", subtitle)
        page.add_scores(self.values, self.intervals)
        page.add_charts("Training", draw_curves(run.rows))
        if self.results is not None:
            _add_results(page, self.results)
            page.add_table(
                "Labels" if self.results.kind == "multilabel" else "Classes", self.classes
            )
            self._add_samples(page, self.results)
        page.add_text("Config", json.dumps(config, indent=2))
        for number, session in enumerate(run.sessions, 1):
            page.add_text(f"Training session {number}", format_session(session))
            diff = str(session.get("git_diff") or "")
            page.add_text(f"Uncommitted changes of training session {number}", diff)
        page.add_text("Test", format_session(collect_provenance()))
        return page.to_html()

    def _add_samples(self, page: Page, results: Results) -> None:
        is_classification = results.kind == "classification"
        errors = results.most_confident_errors(MAX_SAMPLES)
        heading = "Most confident errors" if is_classification else "Largest errors"
        page.add_samples(heading, [self._get_sample(row, results) for row in errors])
        correct = results.least_confident_correct(MAX_SAMPLES)
        heading = "Least confident correct predictions"
        page.add_samples(heading, [self._get_sample(row, results) for row in correct])

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


def _add_results(page: Page, results: Results) -> None:
    """Adds the charts that fit the kind of task."""
    if results.kind == "regression":
        targets, predictions = results.target.ravel(), results.prediction.ravel()
        _add_regression(page, targets.tolist(), predictions.tolist())
    if results.confusion is not None and len(results.names) <= MAX_DRAWN_CLASSES:
        matrix = draw_confusion_matrix(results.confusion, results.names)
        page.add_charts("Confusion matrix", [to_svg(matrix)])
    calibration = results.calibrate()
    curve = draw_scatter("Calibration", calibration.points, "confidence", "accuracy", True)
    heading = f"Calibration: expected calibration error {calibration.error:.3g}"
    page.add_charts(heading, [to_svg(curve)])


def _add_regression(page: Page, targets: Sequence[float], predictions: Sequence[float]) -> None:
    points = list(zip(targets, predictions, strict=True))
    shown = points[:: max(1, len(points) // MAX_POINTS)]
    errors = sorted(prediction - target for target, prediction in points)
    percentiles = [
        (errors[int(percent * (len(errors) - 1) / 100)], float(percent)) for percent in range(101)
    ]
    title = "Samples below each error, %"
    chart = LineChart(title, {"%": percentiles}, "error: prediction - target")
    scatter = draw_scatter("Predictions", shown, "target", "prediction")
    page.add_charts("Predictions", [to_svg(scatter), to_svg(draw_lines([chart]))])


def check_output(path: Path | None) -> None:
    """Raises UserError if a file cannot be written at ``path``."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise UserError(f"--output {path}: must be a file in an existing folder")


def to_csv(rows: Iterable[Iterable[Any]]) -> str:
    """Returns a table as CSV."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
