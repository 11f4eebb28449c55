"""``test.py -r GROUP``: tests each run of a group, and the mean of their outputs."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from base.groups.testing.ensemble import Ensemble
from base.groups.testing.finding import find_best_trial, list_runs
from base.groups.testing.table import Table, replace_nonfinite
from base.loop.reporter import TestResult
from base.tools.page import Page, format_session
from base.tools.report import check_inside, check_output, to_csv
from base.tools.run_record import RunRecord
from base.tools.scores import Scores
from config import ConfigParser
from logger import setup_logging
from utils.checkpoints import find_checkpoint
from utils.errors import UserError
from utils.files import expand_home, write_text
from utils.provenance import collect_provenance
from utils.world import is_launched

Test = Callable[[argparse.Namespace], tuple[ConfigParser, Any]]


def run(args: argparse.Namespace, test: Test) -> None:
    """Tests the runs of a group. Of a search, it tests the best trial.

    Args:
        args: of test.py. ``resume`` is the folder of the group.
        test: tests the run that ``resume`` of its argument names, and writes its report into its
            folder. Returns its config and its TestResult.

    Raises:
        UserError: there is no run to test, or an option does not fit a group.
    """
    setup_logging()
    folder = Path(expand_home(args.resume))
    best = find_best_trial(folder)
    if best is not None:
        logging.getLogger("test").info("%s", best.description)
        folder = best.folder
        if best.is_run:
            test(_change(args, resume=str(folder)))
            return
    _check_options(args, folder)
    GroupTest(folder, args, test).run()


def _check_options(args: argparse.Namespace, folder: Path) -> None:
    if args.predict is not None:
        raise UserError(f"--predict takes one run; give -r one of those in {folder}")
    if is_launched():
        raise UserError(f"{folder}: several processes test one run, not a group; use one process")
    check_output(args.output)


def _change(args: argparse.Namespace, **changes: Any) -> argparse.Namespace:
    return argparse.Namespace(**(vars(args) | changes))


class GroupTest:
    """Tests the runs of a group one after another.

    Args:
        folder: of the group.
        args: of test.py.
        test: see ``run``.
    """

    def __init__(self, folder: Path, args: argparse.Namespace, test: Test) -> None:
        self.folder = folder
        self.args = args
        self.test = test
        self.logger = logging.getLogger("test")
        self.ensemble = Ensemble()
        self.values: dict[str, dict[str, float]] = {}
        self.members: list[dict[str, Any]] = []

    def run(self) -> None:
        """Tests the runs, prints a table, and writes the files into the folder of the group."""
        runs = self._list_testable()
        for run in runs:
            self.logger.info("%s:", run.folder.name)
            config = self._test_run(run)
        result = self.ensemble.get_result(config)
        table = Table(self.values, {} if result is None else {"ensemble": result.values})
        self.logger.info("\n".join([f"{self.folder}: {len(runs)} runs", *table.format_lines()]))
        if result is None:
            note = f"There is no ensemble: {self.ensemble.problem}."
        else:
            note = f"The ensemble averages {self.ensemble.averaged}."
        self.logger.info(note)
        files = Files(self.folder, self.members, table, note, result, self.ensemble)
        for path in files.write(config.plain(), self.args.output):
            self.logger.info("Written to %s", path)

    def _list_testable(self) -> list[RunRecord]:
        found = []
        for run in list_runs(self.folder):
            try:
                find_checkpoint(run.folder, best_first=True)
            except UserError:
                self.logger.warning("%s is left out, because it has no checkpoint", run.folder.name)
                continue
            found.append(run)
            if run.state not in ("finished", ""):
                message = "%s is %s: its best checkpoint so far is tested"
                self.logger.warning(message, run.folder.name, run.state)
        if not found:
            raise UserError(f"{self.folder}: none of its runs has a checkpoint to test")
        return found

    def _test_run(self, run: RunRecord) -> ConfigParser:
        config, result = self.test(_change(self.args, resume=str(run.folder), output=None))
        name = run.folder.name
        self.values[name] = result.values
        self.members.append(
            {
                "run": name,
                "checkpoint": str(result.subject.checkpoint),
                "split": result.subject.split,
                "n_samples": result.n_samples,
                "metrics": replace_nonfinite(result.values),
            }
        )
        self.ensemble.add(name, result, config.plain())
        return config


class Files:
    """Writes the files of a tested group.

    Args:
        folder: of the group.
        members: facts about the test of each run.
        table: the numbers.
        note: a sentence about the ensemble.
        result: of the ensemble; None if there is none.
        ensemble: has made ``result``.
    """

    def __init__(
        self,
        folder: Path,
        members: Sequence[dict[str, Any]],
        table: Table,
        note: str,
        result: TestResult | None,
        ensemble: Ensemble,
    ) -> None:
        self.folder, self.members, self.table, self.note = folder, members, table, note
        self.averaged = ensemble.averaged
        self.scores: list[Scores] = []
        if result is not None:
            self.scores = [Scores(item, result.subject) for item in result.sets]
        for scores in self.scores:
            if scores.view is not None:
                scores.view.indices = ensemble.get_indices(scores.name)

    def write(self, config: dict[str, Any], output: Path | None = None) -> list[Path]:
        """Writes ``test/scores.json``, ``test/report.html`` and the ensemble's predictions.

        Args:
            config: of the last run, for the report.
            output: one more file for the JSON.

        Returns:
            The files.

        Raises:
            UserError: a file cannot be written, or a link leads out of the folder.
        """
        target = self.folder / "test"
        files = {output: self._to_json()} if output is not None else {}
        files[target / "scores.json"] = self._to_json()
        for scores in self.scores:
            if table := scores.list_predictions():
                name = f"predictions-{scores.name}.csv" if scores.name else "predictions.csv"
                files[target / name] = to_csv(table)
        files[target / "report.html"] = self._to_html(config)
        check_inside(target, self.folder)
        return [write_text(path, text) for path, text in files.items()]

    def _to_json(self) -> str:
        content: dict[str, Any] = {"group": str(self.folder), "members": self.members}
        content |= {"mean": replace_nonfinite(self.table.mean)}
        content |= {"std": replace_nonfinite(self.table.std), "ensemble": None}
        if len(self.scores) == 1:
            content["ensemble"] = {"averaged": self.averaged} | self.scores[0].to_dict()
        elif self.scores:
            sets = {scores.name: scores.to_dict() for scores in self.scores}
            content["ensemble"] = {"averaged": self.averaged, "sets": sets}
        return json.dumps(content | {"note": self.note}, indent=4) + "\n"

    def _to_html(self, config: dict[str, Any]) -> str:
        title = f"{config.get('name', self.folder.parent.name)} · {self.folder.name}"
        page = Page(title, f"A test of {len(self.members)} runs. {self.note}")
        if len(self.scores) == 1:
            page.add_scores(self.scores[0].values, self.scores[0].intervals)
        page.add_table("Runs", self.table.to_dicts())
        for scores in self.scores:
            scores.add_to(page)
        page.add_text("Test", format_session(collect_provenance()))
        return page.to_html()
