"""What test.py makes of a tested checkpoint: the JSON, the table of predictions, the report."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from base.loop.metrics import name_of
from base.tools import charts
from base.tools.page import Page, Sample, curves, provenance_text
from base.tools.results import Recorder, Results, intervals
from base.tools.runs import Run
from base.tools.samples import Samples
from utils.errors import UserError
from utils.files import atomic_write
from utils.provenance import collect_provenance

SHOWN = 16  # samples of a kind in the report
POINTS = 2000  # of a scatter


class Tested:
    """A checkpoint that was tested, ready to be written down.

    Args:
        about: checkpoint, weights, split, epoch, as they stand in the JSON.
        values: the numbers of the split.
        recorder: what measured them.
        criterion: the loss; a module is moved to the CPU, as the rows are there.
        loader: that was tested on.
    """

    def __init__(
        self,
        about: dict[str, Any],
        values: dict[str, float],
        recorder: Recorder,
        criterion: Any,
        loader: Any,
    ) -> None:
        rows = recorder.recorded()
        self.about, self.values, self.samples = about, values, Samples(loader)
        self.results = Results(*rows, self.samples.classes, name_of(criterion)) if rows else None
        self.classes = self.results.classes() if self.results is not None else []
        self.intervals = intervals(rows, criterion, recorder.metrics, values)
        flat = [index for batch in self.samples.order() or [] for index in batch]
        self.indices = flat if rows and len(flat) == len(rows[1]) else None

    def lines(self) -> list[str]:
        """The numbers for the console, each with its interval, and a line for every class."""
        lines = []
        for name, value in self.values.items():
            span = self.intervals.get(name)
            lines.append(
                f"  {name:<15} {value:<10.6g}"
                + (f" [{span[0]:.4g}, {span[1]:.4g}]" if span else "")
            )
        if self.classes:
            width = min(30, max(5, *(len(row["class"]) for row in self.classes)))
            lines.append(f"  {'class':<{width}} precision  recall      f1  support")
            for row in self.classes[:20]:
                numbers = f"{row['precision']:9.4f}  {row['recall']:6.4f}  {row['f1']:6.4f}  {row['support']:7d}"
                lines.append(f"  {row['class'][:width]:<{width}} {numbers}")
            lines += [f"  … and {len(self.classes) - 20} more in the report"] * (
                len(self.classes) > 20
            )
        return [line.rstrip() for line in lines]

    def report(
        self, logger: logging.Logger, folder: Path, config: dict[str, Any], output: Path | None
    ) -> None:
        """Tells the numbers, and writes them; see ``write``."""
        logger.info("\n".join(self.lines()))
        for path in self.write(folder, config, output):
            logger.info("Written to %s", path)

    def json(self) -> str:
        """The about, the numbers with their intervals, and the classes, as JSON; of NaN and infinities null."""
        metrics = {
            name: value if math.isfinite(value) else None for name, value in self.values.items()
        }
        results = {"metrics": metrics, "intervals": self.intervals}
        return json.dumps(self.about | results | {"classes": self.classes}, indent=4) + "\n"

    def write(self, folder: Path, config: dict[str, Any], output: Path | None = None) -> list[Path]:
        """Writes ``test/CHECKPOINT.json``, ``test/predictions.csv`` and ``report.html`` into a run's folder.

        Args:
            folder: the run's.
            config: of the run, for the report.
            output: a place for the JSON too.

        Raises:
            UserError: it cannot be written, or a link leads out of the folder.
        """
        target = folder / "test"
        stem = Path(self.about["checkpoint"]).stem
        files = {output: self.json()} if output is not None else {}
        files[target / f"{stem}.json"] = self.json()
        if self.results is not None and self.results.kind:
            files[target / "predictions.csv"] = self._table(self.results)
        files[folder / "report.html"] = self._report(folder, config)
        if not Path(os.path.realpath(target)).is_relative_to(folder.resolve()):
            raise UserError(
                f"{target}: is a symbolic link that leads out of {folder}; nothing is written there"
            )
        return [write(path, text) for path, text in files.items()]

    def _table(self, results: Results) -> str:
        """The predictions as CSV: index, target, prediction, confidence, path."""
        rows: list[list[Any]] = [["index", "target", "prediction", "confidence", "path"]]
        for place in range(len(results.target)):
            index = self.indices[place] if self.indices is not None else place
            path = self.samples.path(index) if self.indices is not None else None
            rows.append(
                [index, results.told(results.target[place]), *results.row(place), path or ""]
            )
        return csv_of(rows)

    def _report(self, folder: Path, config: dict[str, Any]) -> str:
        about, results, run = self.about, self.results, Run(folder)
        tested = f"{about['n_samples']:,} samples of {about['split']}"
        subtitle = f"{tested}; the {about['weights']} after epoch {about['epoch']}"
        page = Page(f"{config.get('name', folder.parent.name)} · {folder.name}", subtitle)
        page.scores(self.values, self.intervals)
        page.charts("Training", curves(run.rows))
        if results is not None:
            self._figures(page, results)
        page.text("Config", json.dumps(config, indent=2))
        for number, session in enumerate(run.sessions, 1):
            page.text(f"Trained: session {number}", provenance_text(session))
            page.text(
                f"Uncommitted changes of session {number}", str(session.get("git_diff") or "")
            )
        page.text("Tested", provenance_text(collect_provenance()))
        return page.html()

    def _figures(self, page: Page, results: Results) -> None:
        """What fits the kind of task."""
        names = results.names
        if results.kind == "regression":
            flat = list(
                zip(
                    results.target.ravel().tolist(),
                    results.prediction.ravel().tolist(),
                    strict=True,
                )
            )
            drawn = flat[:: max(1, len(flat) // POINTS)]
            errors = sorted(guess - target for target, guess in flat)
            shares = [
                (errors[int(share * (len(errors) - 1) / 100)], float(share)) for share in range(101)
            ]
            left = charts.scatter("Predictions", drawn, "target", "prediction")
            page.charts(
                "Predictions",
                [left, charts.lines("Errors, in % up to", {"%": shares}, "prediction - target")],
            )
        if results.confusion is not None and len(names) <= 60:
            page.matrix(
                "What is taken for what",
                charts.matrix("Confusion matrix", results.confusion, names),
            )
        bins, error = results.calibration()
        points = [(sure, right) for sure, right, _ in bins]
        curve = charts.scatter(
            "Calibration", points, "confidence", "share that is right", dots=False
        )
        if curve and len(results.target):
            page.charts(f"Calibration: expected error {error:.3g}", [curve])
        page.table("Labels" if results.kind == "multilabel" else "Classes", self.classes)
        heading = (
            "The surest mistakes" if results.kind == "classification" else "The largest errors"
        )
        page.samples(heading, [self._sample(place, results) for place in results.worst(SHOWN)])
        page.samples(
            "Right, and least sure",
            [self._sample(place, results) for place in results.least_sure(SHOWN)],
        )

    def _sample(self, place: int, results: Results) -> Sample:
        name, picture = f"sample {place}", None
        if self.indices is not None:
            index = self.indices[place]
            picture, path = (
                self.samples.picture(self.samples.fetch(index)),
                self.samples.path(index),
            )
            name = Path(path).name if path else f"sample {index}"
        target, guess = results.told(results.target[place]), results.told(results.prediction[place])
        sure = f" {results.confidence[place]:.1%}" if results.confidence is not None else ""
        caption = f"{guess or 'none'}{sure}" + (
            "" if target == guess else f", is {target or 'none'}"
        )
        return Sample(name, caption, target == guess, picture)


def check_output(path: Path | None) -> None:
    """Raises UserError if no file can stand at ``path``."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise UserError(f"--output {path}: must be a file in a folder that is there")


def csv_of(rows: Iterable[Iterable[Any]]) -> str:
    """A table as CSV."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def write(path: Path, text: str) -> Path:
    """Writes a result, whole or not at all; gives its path. Raises UserError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(text.encode("utf-8", "replace"))
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
    return path
