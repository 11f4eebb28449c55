"""The view of rows: classes, labels, or numbers for each sample."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from base.loop.rows import Rows
from base.tools.charts import draw_confusion_matrix, draw_scatter, to_svg
from base.tools.page import Page, Sample
from base.tools.pictures import Image
from base.tools.results import Results
from base.tools.views.regression import Regression
from base.tools.views.view import MAX_SAMPLES, Curve, View, draw_matrix, draw_samples, shorten_table

MAX_DRAWN_CLASSES = 60  # of a confusion matrix in a report
MAX_CLASSES_IN_MATRIX = 50  # of a tracker's
MAX_CLASSES_WITH_CURVES = 20


class RowView(View):
    """Shows a classification, labels, or a regression."""

    collects = Rows

    @cached_property
    def results(self) -> Results:
        """The predictions of all samples."""
        rows = self.collector.get()
        assert rows is not None
        return self._get_results(*rows)

    def _get_results(self, output: torch.Tensor, target: torch.Tensor) -> Results:
        classes, facts = self.samples.classes, self.facts
        return Results(output, target, classes, facts.loss, facts.task)

    @cached_property
    def classes(self) -> list[dict[str, Any]]:
        return self.results.score_classes()

    @cached_property
    def regression(self) -> Regression | None:
        """The predicted numbers; None of other tasks."""
        results = self.results
        if results.kind != "regression":
            return None
        target, prediction = self._align(results.target), self._align(results.prediction)
        return Regression(target, prediction, self.samples.name_targets(target.shape[1]))

    def _align(self, values: NDArray[Any]) -> NDArray[Any]:
        """Numbers (N,) or (N, C) as (N, C): a column for each target."""
        return values.reshape(len(values), -1)

    def to_dict(self) -> dict[str, Any]:
        scores = [] if self.regression is None else self.regression.scores
        return super().to_dict() | ({"targets": scores} if scores else {})

    def format_lines(self) -> list[str]:
        if self.regression is not None:
            return self.regression.format_lines()
        if not self.results.kind:
            return [
                "  The report shows no predictions: the task is unknown, or does not fit",
                "  the outputs. Set task: classification, multilabel or regression.",
            ]
        if not self.classes:
            return []
        width = min(30, max(5, *(len(row["class"]) for row in self.classes)))
        lines = [f"  {'class':<{width}} precision  recall      f1  support"]
        for row in self.classes:
            name = f"{row['class'][:width]:<{width}}"
            scores = f"{row['precision']:9.4f}  {row['recall']:6.4f}  {row['f1']:6.4f}"
            lines.append(f"  {name} {scores}  {row['support']:7d}")
        return shorten_table(lines)

    def list_predictions(self) -> list[list[Any]]:
        """For each sample its target and its prediction."""
        results = self.results
        if not results.kind:
            return []
        indices = list(range(len(results.target))) if self.indices is None else self.indices
        texts = [] if self.indices is None else [*map(self.samples.text, indices)]
        rows: list[list[Any]] = [["index", *self._name_columns(), "confidence", "path"]]
        rows[0] += ["text"] if any(texts) else []
        for row in range(len(results.target)):
            index = indices[row]
            path = None if self.indices is None else self.samples.path(index)
            target = results.target[row]
            description, confidence = results.describe_prediction(row)
            cells = [results.describe(target), description]
            if results.kind == "regression":
                pair = (target, results.prediction[row])
                cells = [f"{number:.6g}" for values in pair for number in values.flat]
            rows.append([index, *cells, confidence, path or ""])
            rows[-1] += [texts[row]] if any(texts) else []
        return rows

    def _name_columns(self) -> list[str]:
        """The titles of the columns of targets and predictions: one for each number."""
        shape = self.results.target.shape[1:] if self.results.kind == "regression" else ()
        if prod(shape) == 1:
            return ["target", "prediction"]
        names = self.samples.name_numbers(shape)
        return [f"{title}_{name}" for title in ("target", "prediction") for name in names]

    def list_probabilities(self) -> tuple[list[str], NDArray[np.floating[Any]] | None]:
        return self.results.names, self.results.probability

    def add_to(self, page: Page, ending: str) -> None:
        results = self.results
        if self.regression is not None:
            self.regression.add_to(page, ending)
        _add_results(page, results, ending)
        heading = "Labels" if results.kind == "multilabel" else "Classes"
        page.add_table(heading + ending, self.classes)
        is_classification = results.kind == "classification"
        errors = results.most_confident_errors(MAX_SAMPLES)
        heading = "Most confident errors" if is_classification else "Largest errors"
        page.add_samples(heading + ending, [self._get_sample(row) for row in errors])
        correct = results.least_confident_correct(MAX_SAMPLES)
        heading = "Least confident correct predictions"
        page.add_samples(heading + ending, [self._get_sample(row) for row in correct])

    def _get_sample(self, row: int) -> Sample:
        results, picture, text = self.results, None, ""
        if self.indices is not None:
            picture = self.samples.picture(self.samples.fetch(self.indices[row]))
            text = self.samples.text(self.indices[row])
        target = results.describe(results.target[row])
        prediction = results.describe(results.prediction[row])
        caption = prediction or "none"
        if results.confidence is not None:
            caption += f" {results.confidence[row]:.1%}"
        if target != prediction:
            caption += f", is {target or 'none'}"
        return Sample(self.get_title(row), caption, target == prediction, picture, text)

    def list_samples(self, count: int) -> list[Sample]:
        results = self.results
        n_samples = len(results.target) if results.kind else 0
        return [self._get_sample(row) for row in range(min(count, n_samples))]

    def draw(self, inputs: Sequence[Any]) -> partial[Image] | None:
        """Draws pictures with their predicted classes, and with the right ones of errors."""
        rows, count = self.collector.get(), len(inputs)
        if rows is None or len({values.shape for values in inputs}) > 1:
            return None
        results = self._get_results(rows[0][:count], rows[1][:count])
        if results.confidence is None or len(results.target) != count:
            return None
        are_correct = (results.target == results.prediction).tolist()
        captions = []
        for row, is_correct in enumerate(are_correct):
            caption = results.describe(results.prediction[row])
            if is_correct:
                captions.append(f"{caption} {results.confidence[row]:.0%}")
            else:
                captions.append(f"{caption}, is {results.describe(results.target[row])}")
        copies = [values.detach().clone().cpu() for values in inputs]
        if self.samples.picture(copies[0]) is None:
            return None
        return partial(draw_samples, self.samples, copies, captions, are_correct)

    def draw_matrix(self) -> partial[Image] | None:
        confusion, names = self.results.confusion, self.results.names
        if confusion is None or len(names) > MAX_CLASSES_IN_MATRIX:
            return None
        return partial(draw_matrix, confusion, names)

    def list_curves(self) -> list[Curve]:
        results = self.results
        if results.confusion is None or len(results.names) > MAX_CLASSES_IN_MATRIX:
            return []
        assert results.probability is not None
        names = results.names[:MAX_CLASSES_WITH_CURVES]
        return [
            Curve(name, results.target == label, results.probability[:, label])
            for label, name in enumerate(names)
        ]


def _add_results(page: Page, results: Results, ending: str) -> None:
    """Adds the charts that fit the kind of task."""
    if results.confusion is not None and len(results.names) <= MAX_DRAWN_CLASSES:
        matrix = draw_confusion_matrix(results.confusion, results.names)
        page.add_charts("Confusion matrix" + ending, [to_svg(matrix)])
    calibration = results.calibrate()
    curve = draw_scatter("Calibration", calibration.points, "confidence", "accuracy", True)
    heading = f"Calibration: expected calibration error {calibration.error:.3g}{ending}"
    page.add_charts(heading, [to_svg(curve)])
