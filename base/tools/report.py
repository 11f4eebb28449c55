"""The files that test.py writes: numbers as JSON, a table of predictions, an HTML report."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from base.loop.reporter import Reporter, TestResult
from base.tools.page import Page, draw_curves, format_session
from base.tools.run_record import RunRecord
from base.tools.scores import Scores
from utils.errors import UserError
from utils.files import write_text
from utils.provenance import collect_provenance


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

    def show(self, result: TestResult, config: Any) -> ShownReport:
        """Returns the report for a notebook. It writes no file."""
        writer = ResultWriter(result)
        page = writer.make_page(result.subject.folder, config.plain())
        return ShownReport(writer.values, writer.format_lines(), page)


class ShownReport:
    """A report that a notebook shows as the page, and a terminal as lines.

    Args:
        values: the numbers by name.
        lines: the numbers with their intervals, and the classes.
        page: the report.

    Attributes:
        values: the argument.
    """

    def __init__(self, values: dict[str, float], lines: list[str], page: Page) -> None:
        self.values, self._lines, self._page = values, lines, page

    def __repr__(self) -> str:
        return "\n".join([self._page.title, self._page.subtitle, *self._lines])

    def _repr_html_(self) -> str:
        return self._page.to_fragment()

    def save(self, path: str | Path) -> Path:
        """Writes the report to a HTML file, which needs no other file."""
        return write_text(Path(path), self._page.to_html())


class ResultWriter:
    """Computes the scores of a tested checkpoint, and writes them to files.

    Args:
        result: of the test. A criterion that is a module is moved to the CPU, where the rows are.
    """

    def __init__(self, result: TestResult) -> None:
        subject = result.subject
        self.about = {
            "checkpoint": str(subject.checkpoint),
            "weights": subject.weights,
            "split": subject.split,
            "epoch": subject.epoch,
            "position": subject.position,
            "n_samples": result.n_samples,
        }
        self.values = result.values
        self.scores = [Scores(item, subject) for item in result.sets]

    def format_lines(self) -> list[str]:
        """Returns the lines of all sets."""
        return [line for scores in self.scores for line in scores.format_lines()]

    def to_json(self) -> str:
        """Returns facts, numbers, intervals and classes as JSON, those of several sets by name."""
        if len(self.scores) == 1:
            scores = self.scores[0].to_dict()
        else:
            scores = {
                item.name: {"n_samples": item.n_samples} | item.to_dict() for item in self.scores
            }
            scores = {"sets": scores}
        return json.dumps(self.about | scores, indent=4) + "\n"

    def write(self, folder: Path, config: dict[str, Any], output: Path | None = None) -> list[Path]:
        """Writes ``test/CHECKPOINT.json``, ``test/predictions.csv`` and ``report.html``.

        Each of several test sets has a table ``test/predictions-SET.csv``.

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
        for scores in self.scores:
            if table := scores.list_predictions():
                name = f"predictions-{scores.name}.csv" if scores.name else "predictions.csv"
                files[target / name] = to_csv(table)
        files[folder / "report.html"] = self.make_page(folder, config).to_html()
        check_inside(target, folder)
        return [write_text(path, text) for path, text in files.items()]

    def make_page(self, folder: Path, config: dict[str, Any]) -> Page:
        """Makes the report. Curves and the sessions of the run come from its folder."""
        about, run = self.about, RunRecord(folder)
        subtitle = (
            f"{about['n_samples']:,} samples of {about['split']}; "
            f"the {about['weights']} {about['position']}"
        )
        page = Page(f"{config.get('name', folder.parent.name)} · {folder.name}", subtitle)
        if len(self.scores) == 1:
            page.add_scores(self.values, self.scores[0].intervals)
        else:
            page.add_table("Scores", self._make_columns())
        for scores in self.scores:
            page.add_note(
                " ".join([f"{scores.name}:" if scores.name else "", *scores.list_notes()])
            )
        page.add_charts("Training", draw_curves(run.rows, run.has_training_objective))
        for scores in self.scores:
            scores.add_to(page)
        page.add_text("Config", json.dumps(config, indent=2))
        for number, session in enumerate(run.sessions, 1):
            page.add_text(f"Training session {number}", format_session(session))
            diff = str(session.get("git_diff") or "")
            page.add_text(f"Uncommitted changes of training session {number}", diff)
        page.add_text("Test", format_session(collect_provenance()))
        return page

    def _make_columns(self) -> list[dict[str, Any]]:
        """Makes a table with a row for each number and a column for each set."""
        names = dict.fromkeys(name for scores in self.scores for name in scores.values)
        return [
            {"": name} | {scores.name: scores.format_value(name) for scores in self.scores}
            for name in names
        ]


def check_inside(target: Path, folder: Path) -> None:
    """Raises UserError if a link leads from ``target``, which is in ``folder``, out of it."""
    if not Path(os.path.realpath(target)).is_relative_to(folder.resolve()):
        message = f"is a symbolic link that leads out of {folder}; nothing is written there"
        raise UserError(f"{target}: {message}")


def check_output(path: Path | None) -> None:
    """Raises UserError if a file cannot be written at ``path``."""
    if path is not None and (path.is_dir() or not path.parent.is_dir()):
        raise UserError(f"--output {path}: must be a file in an existing folder")


def to_csv(rows: Iterable[Iterable[Any]]) -> str:
    """Returns a table as CSV."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
