"""The summary of a repetition: the mean of each number over its runs, with an interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from base.groups.testing.table import replace_nonfinite
from base.tools.group_record import GroupRecord, estimate_over, is_counted
from base.tools.listing import format_estimate
from base.tools.run_record import RunRecord
from base.tools.statistics import Estimate
from utils.errors import UserError
from utils.provenance import write_durably
from utils.tables import format_table

FILE_NAME = "summary.json"
NO_MEANS = ("epoch", "batch", "step", "lr", "seconds")


class Summary:
    """The numbers of the finished runs of a repetition, each at the best epoch of its run.

    Args:
        folder: of the repetition.
    """

    def __init__(self, folder: Path) -> None:
        self.group = GroupRecord(folder)
        self.runs = [run for run in self.group.runs if is_counted(run)]
        metric = self.group.monitor.metric
        names = dict.fromkeys(name for run in self.runs for name in _get_numbers(run))
        ordered = sorted(names, key=lambda name: (name != metric, not name.startswith("val_")))
        self.estimates = {name: self._estimate(name) for name in ordered}

    def _estimate(self, name: str) -> Estimate:
        values = {run.variant: _get_numbers(run).get(name) for run in self.runs}
        return estimate_over({key: value for key, value in values.items() if value is not None})

    def format_lines(self) -> list[str]:
        """Returns a table of the runs and one of the means, as lines."""
        if not self.runs:
            return []
        metric = self.group.monitor.metric
        rows = [("run", metric, "epoch")]
        for run in self.runs:
            if run.best is None:
                rows.append((run.folder.name, "never a finite number; left out of the means", ""))
            else:
                rows.append((run.folder.name, f"{run.best.value:.6g}", str(run.best.epoch)))
        means = [("mean over the runs", "with its 95 % interval")]
        means += [(name, format_estimate(estimate)) for name, estimate in self.estimates.items()]
        return [*format_table(rows), *format_table(means)]

    def write(self) -> Path:
        """Writes ``summary.json``.

        Raises:
            UserError: it cannot be written.
        """
        path = self.group.folder / FILE_NAME
        content = {
            "monitor": f"{self.group.monitor.mode} {self.group.monitor.metric}",
            "runs": {run.folder.name: _get_numbers(run) for run in self.runs},
            "means": {
                name: replace_nonfinite({"mean": item.mean, "low": item.low, "high": item.high})
                for name, item in self.estimates.items()
            },
        }
        try:
            write_durably(path, content)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror}") from None
        return path


def _get_numbers(run: RunRecord) -> dict[str, Any]:
    """Returns the numbers of the best epoch of a run."""
    return {
        name: value
        for name, value in run.best_row.items()
        if name not in NO_MEANS and isinstance(value, int | float)
    }
