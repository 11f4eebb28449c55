"""Joins what the runs of a cross-validation predict for the samples that they have not trained on.

Everything is read from the folders of the runs: their configs and their best checkpoints.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import torch

from base.evaluation import load_subject
from base.groups.testing.finding import list_runs
from base.groups.testing.outputs import Outputs, read_outputs, score_outputs
from base.groups.testing.table import Table
from base.loop.reporter import SetResult, TestResult, evaluate_sets
from base.loop.task import LEARNED, describe_loss
from base.tools.group_record import GroupRecord
from base.tools.page import Page, format_session
from base.tools.report import to_csv
from base.tools.run_record import RunRecord
from base.tools.scores import Scores
from config import ConfigParser
from config.check.schema import Schema
from utils.checkpoints import find_checkpoint
from utils.errors import UserError
from utils.files import write_text
from utils.provenance import collect_provenance
from utils.run_files import reading_from
from utils.seed import seed_everything

MAX_CLASSES = 100  # whose probabilities are in the table of predictions


class Fold(NamedTuple):
    """What a run predicts for its fold.

    Attributes:
        name: of the run.
        seed: of the run.
        number: of the fold, from 1.
        folds: the number of folds.
        values: its numbers on the fold.
        n_samples: in the fold.
        outputs: None if they are not one row of numbers for each sample.
    """

    name: str
    seed: int
    number: int
    folds: int
    values: dict[str, float]
    n_samples: int
    outputs: Outputs | None


def write_out_of_fold(group: Path, schema: Schema) -> Path | None:
    """Lets each finished run of a cross-validation predict its fold, and joins the predictions.

    Writes ``predictions.csv``, with a row for each sample in the order of the dataset, and
    ``report.html`` into the folder of the group. Each of several seeds has rows of its own.

    Args:
        group: the folder of the runs.
        schema: of the config.

    Returns:
        The report; None if no run with folds is finished.

    Raises:
        UserError: a checkpoint does not fit its config, or a file cannot be written.
    """
    logger = logging.getLogger("test")
    runs = [run for run in list_runs(group) if run.state == "finished" and has_fold(run)]
    if not runs:
        return None
    folds = []
    for run in runs:  # only the last model and its data stay in memory
        fold, result = predict_fold(run, schema)
        folds.append(fold)
    keys = [(fold.seed, fold.number) for fold in folds]
    if len(set(keys)) < len(keys) or len({fold.folds for fold in folds}) > 1:
        logger.warning("%s: its runs are no cross-validation of one config", group)
        return None
    joined = OutOfFold(group, folds, result, _read_config(runs[-1], schema))
    logger.info("\n".join(joined.format_lines()))
    for path in joined.write():
        logger.info("Written to %s", path)
    return group / "report.html"


def has_fold(run: RunRecord) -> bool:
    """Whether a run is one of a cross-validation."""
    return run.variant.fold is not None and run.variant.folds is not None


def _read_config(run: RunRecord, schema: Schema) -> ConfigParser:
    checkpoint = find_checkpoint(run.folder, best_first=True)
    args = argparse.Namespace(config=None, resume=str(checkpoint), device=None)
    config = ConfigParser.from_args(args)
    config.check(schema)
    return config


def predict_fold(run: RunRecord, schema: Schema) -> tuple[Fold, TestResult]:
    """Tests the best checkpoint of a run on its fold.

    Returns:
        What the joined table needs of it, and the full result.

    Raises:
        UserError: there is no checkpoint or no fold, or the weights do not fit the model.
    """
    config, logger = _read_config(run, schema), logging.getLogger("test")
    fold, folds = run.variant.fold, run.variant.folds
    assert fold is not None
    assert folds is not None
    seed_everything(config.seed)
    with reading_from(config.resume):
        loader = config.build("data_loader").split_validation()
    if loader is None:
        raise UserError(f"{run.folder}: its data loader gives no validation part for its fold")
    count = config["trainer"].get("limit_batches")
    if count is not None:
        from base.data.limited import limit_loader

        loader = limit_loader(loader, count)
    subject = load_subject(config, None, (loader, f"fold {fold} of {folds}", "data_loader"))
    (result,) = evaluate_sets(subject, config, logger)
    outputs = read_outputs(result)
    if outputs is not None and outputs.indices is None:
        outputs = None
    n_samples = result.n_samples or loader.n_samples  # a project may evaluate without counting
    facts = (run.folder.name, config.seed, fold, folds, result.values, n_samples, outputs)
    return Fold(*facts), TestResult(subject, [result])


class OutOfFold:
    """The joined predictions of the runs of a cross-validation, and their scores.

    Args:
        group: the folder.
        folds: what each run predicts; each pair of seed and fold once.
        result: of one of the runs on its fold.
        config: of this run.
    """

    def __init__(
        self, group: Path, folds: list[Fold], result: TestResult, config: ConfigParser
    ) -> None:
        self.group = group
        self.result = result
        self.config = config
        self.folds = sorted(folds, key=lambda fold: (fold.seed, fold.number))
        self.seeds = sorted({fold.seed for fold in folds})
        self.rows: list[tuple[int, int]] = []  # seed and fold of each predicted sample
        self.scores: Scores | None = None
        others = {}
        if all(fold.outputs is not None for fold in folds):
            joined = [self._join(seed) for seed in self.seeds]
            results = [self._score(*pair) for pair in zip(self.seeds, joined, strict=True)]
            self.scores = self._make_scores(joined, results)
            for seed, scored in zip(self.seeds, results, strict=True):
                title = "all samples" if len(self.seeds) == 1 else f"all samples, seed {seed}"
                others[title] = scored.values
        self.table = Table({fold.name: fold.values for fold in self.folds}, others)

    def _list_folds(self, seed: int) -> list[Fold]:
        return [fold for fold in self.folds if fold.seed == seed]

    def _join(self, seed: int) -> Outputs:
        """Joins the outputs for all samples in the order of the dataset, and notes their folds."""
        folds = self._list_folds(seed)
        outputs = [fold.outputs for fold in folds if fold.outputs is not None]
        indices = torch.cat([item.indices for item in outputs if item.indices is not None])
        order = indices.argsort(stable=True)
        numbers = [fold.number for fold, item in zip(folds, outputs, strict=True) for _ in item[1]]
        self.rows += [(seed, numbers[row]) for row in order.tolist()]
        output = torch.cat([item.output for item in outputs])[order]
        target = torch.cat([item.target for item in outputs])[order]
        return Outputs(output, target, indices[order], [len(output)])

    def _score(self, seed: int, joined: Outputs) -> SetResult:
        criterion = self.result.subject.criterion
        result = score_outputs(joined, self.result.subject, self.config, self.result.sets[0])
        is_scaled = result.metrics.units is not None  # by the training part of each fold
        if is_scaled or describe_loss(criterion) == LEARNED:  # that of another fold does not fit
            folds = self._list_folds(seed)
            result.values["loss"] = statistics.fmean(
                (fold.values["loss"] for fold in folds), weights=[fold.n_samples for fold in folds]
            )
        return result

    def _make_scores(self, joined: list[Outputs], results: list[SetResult]) -> Scores:
        """Makes the scores of the rows of all seeds. The numbers are means over the seeds."""
        first = results[0]
        values = {
            name: statistics.fmean(result.values[name] for result in results)
            for name in first.values
        }
        rows = first.metrics.rows
        assert rows is not None
        for item in joined[1:]:
            rows.add(item.output, item.target, len(item.output))
        n_samples = sum(result.n_samples for result in results)
        first = dataclasses.replace(first, values=values, n_samples=n_samples)
        scores = Scores(first, self.result.subject)
        indices = [item.indices.tolist() for item in joined if item.indices is not None]
        if scores.view is not None:
            scores.view.indices = [index for part in indices for index in part]
        if len(results) > 1:  # the rows of one sample depend on each other
            reason = "the rows of several seeds depend on each other"
            scores.intervals, scores.reasons = {}, dict.fromkeys(values, reason)
        return scores

    @property
    def missing(self) -> list[str]:
        """The folds, for each seed, that no finished run has."""
        numbers = range(1, self.folds[0].folds + 1)
        known = {(fold.seed, fold.number) for fold in self.folds}
        pairs = [(seed, number) for seed in self.seeds for number in numbers]
        several = len(self.seeds) > 1
        return [
            f"fold {number}" + (f" of seed {seed}" if several else "")
            for seed, number in pairs
            if (seed, number) not in known
        ]

    def describe(self) -> str:
        """Says which samples were predicted, and by which runs."""
        n_samples = sum(fold.n_samples for fold in self._list_folds(self.seeds[0]))
        text = f"{n_samples:,} samples, each predicted by a model that has not trained on it; "
        text += f"{self.folds[0].folds} folds"
        if len(self.seeds) > 1:
            text += f", {len(self.seeds)} seeds"
        count = self.config["trainer"].get("limit_batches")
        if count is not None:
            text += f"; only the first {count} batches of each fold (trainer.limit_batches)"
        return text + (f"; missing: {', '.join(self.missing)}" if self.missing else "")

    def format_lines(self) -> list[str]:
        """Returns a sentence about the samples, and the numbers of each fold and of all."""
        return [f"Out of fold: {self.describe()}.", *self.table.format_lines()]

    def write(self) -> list[Path]:
        """Writes ``predictions.csv``, if the kind of task is known, and ``report.html``."""
        files = {self.group / "report.html": self._to_html()}
        if self.scores is not None and (table := self._list_predictions(self.scores)):
            files[self.group / "predictions.csv"] = to_csv(table)
        return [write_text(path, text) for path, text in files.items()]

    def _list_predictions(self, scores: Scores) -> list[list[Any]]:
        """Lists the rows of a table; empty if the kind of task is unknown."""
        table = scores.list_predictions()
        if not table or scores.view is None:
            return []
        header, *rows = table
        names, probability = scores.view.list_probabilities()
        if probability is None or len(names) > MAX_CLASSES:
            names = []
        several = len(self.seeds) > 1
        extra = [*(["seed"] if several else []), "fold"]
        joined = [[header[0], *extra, *header[1:], *(f"probability of {name}" for name in names)]]
        for number, (cells, (seed, fold)) in enumerate(zip(rows, self.rows, strict=True)):
            found = [] if probability is None or not names else probability[number].tolist()
            numbers = [seed, fold] if several else [fold]
            joined.append([cells[0], *numbers, *cells[1:], *(f"{value:.6g}" for value in found)])
        return joined

    def _to_html(self) -> str:
        page = Page(f"{self.config['name']} · {self.group.name}", f"{self.describe()}.")
        if self.scores is not None:
            page.add_scores(self.scores.values, self.scores.intervals)
            page.add_note(" ".join(self.scores.list_notes()))
        page.add_table("Folds", self.table.to_dicts())
        if self.scores is not None:
            self.scores.add_to(page)
        config = GroupRecord(self.group).config or self.config.plain()
        page.add_text("Config", json.dumps(config, indent=2))
        page.add_text("Predictions", format_session(collect_provenance()))
        return page.to_html()
