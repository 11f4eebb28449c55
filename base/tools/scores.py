"""The scores of one test set: intervals, classes, predictions, samples to look at."""

from __future__ import annotations

import math
from typing import Any

import torch

from base.data.time_split import (
    SAMPLES_COMPARED,
    count_shared_steps,
    get_known_overlap,
    shares_targets,
)
from base.loop.reporter import SetResult, TestSubject
from base.tools.intervals import Intervals, bootstrap_intervals
from base.tools.page import Page
from base.tools.samples import Samples
from base.tools.views.register import make_view

OVERLAP = "neighbouring windows have targets in common"


class Scores:
    """Computes the scores of a checkpoint on one test set.

    Args:
        result: of the test on the set.
        subject: the model. A criterion that is a module is moved to the CPU, where the rows are.

    Attributes:
        values, intervals: the numbers and their confidence intervals by name.
        reasons: why a number has no interval.
        view: shows the predictions; None if nothing was collected.
    """

    def __init__(self, result: SetResult, subject: TestSubject) -> None:
        metrics = result.metrics
        rows = None if metrics.rows is None else metrics.rows.get()
        self.name, self.values, self.n_samples = result.name, result.values, result.n_samples
        samples = Samples(result.loader)
        self.view = make_view(metrics.rows, samples, subject)
        self.units = metrics.units
        if has_overlapping_targets(samples, rows):  # a bootstrap needs independent samples
            self.intervals, self.reasons = Intervals({}, dict.fromkeys(self.values, OVERLAP))
        else:
            criterion, units = subject.criterion, metrics.units
            self.intervals, self.reasons = bootstrap_intervals(
                rows, criterion, metrics.metrics, result.values, units, metrics.labels
            )

    def format_lines(self) -> list[str]:
        """Returns the numbers with their intervals, and a line for each class."""
        lines = [f"{self.name}: {self.n_samples:,} samples"] if self.name else []
        width = max([15, *map(len, self.values)])
        if not self.values:
            lines.append("  No numbers: no target of these data counts.")
        for name, value in self.values.items():
            line = f"  {name:<{width}} {value:<10.6g} {self._format_interval(name)}"
            lines.append(line.rstrip())
        lines += [f"  {sentence}" for sentence in self.list_notes()]
        return lines if self.view is None else [*lines, *self.view.format_lines()]

    def list_notes(self) -> list[str]:
        """Says which numbers have no interval, and why, and which are of scaled targets."""
        notes = Intervals(self.intervals, self.reasons).format_reasons()
        if self.units is not None and "loss" in self.values:
            scaled = f"targets scaled by {self.units.name}"
            notes.append(f"The loss is of {scaled}; all else is in real units.")
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
        shown = {"classes": []} if self.view is None else self.view.to_dict()
        numbers = {"metrics": metrics, "intervals": self.intervals, "no_interval": self.reasons}
        return numbers | shown

    def list_predictions(self) -> list[list[Any]]:
        """Lists the rows of a table: for each sample its target and its prediction.

        It is empty if there is nothing to list.
        """
        return [] if self.view is None else self.view.list_predictions()

    def add_to(self, page: Page) -> None:
        """Adds the charts, the classes and samples to a page."""
        if self.view is not None:
            self.view.add_to(page, f" · {self.name}" if self.name else "")


def has_overlapping_targets(
    samples: Samples, rows: tuple[torch.Tensor, torch.Tensor] | None
) -> bool:
    """Whether neighbouring samples have targets in common, as windows of a series have.

    Args:
        samples: of the test set, whose dataset may have an ``overlap``.
        rows: outputs and targets of all samples in their order; None if unknown.
    """
    overlap = get_known_overlap(samples.dataset)
    if overlap is not None:
        return overlap > 0
    if rows is None:
        return False
    found = count_shared_steps(list(rows[1][:SAMPLES_COMPARED]))
    return bool(found) or shares_targets(samples.dataset)  # a random split may hide it
