"""Runs a search: workers take trials until all are made.

``search``, at the end of this file, is the whole search. Its workers ask ``Trials.take`` for the
next trial, and train it by a ``TrialTask``, which tells the study how the trial has ended.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any

from base.groups.options import RepeatOptions
from base.groups.plan.estimate import describe_plan, estimate
from base.groups.report.hparams import write_hparams
from base.groups.report.scales import make_scales
from base.groups.report.search_report import write_report_of
from base.groups.running.group import Group
from base.groups.running.member import BLOCKED, MemberRunner
from base.groups.running.repetition import list_variants
from base.groups.running.search_result import format_result
from base.groups.running.trial import TrialTask
from base.groups.running.workers import Task, Workers, get_num_jobs
from base.groups.study.opened_search import OpenedSearch, open_search
from base.groups.study.records import FAILED, FINISHED, RUNNING, TrialRecord
from base.tools.member_names import name_trial
from config import ConfigParser
from logger import setup_logging
from logger.progress import Bar
from utils.errors import UserError


class Trials:
    """The trials of a search, from which workers take.

    Args:
        search: what is searched.
        group: its folder.
        logger: gets a line for each trial that ends.
    """

    def __init__(self, search: OpenedSearch, group: Group, logger: logging.Logger) -> None:
        self.search, self.group, self.logger = search, group, logger
        self.repeat: RepeatOptions | None = None
        self._blocked: set[int] = set()  # the trials that have to wait for a repair
        self._variants: Mapping[str, Mapping[str, Any]] = {"": {}}
        if search.config.get("repeat"):
            self.repeat = search.config.options("repeat")
            self._variants = list_variants(self.repeat, search.config)
        ended = sum(trial.state != RUNNING for trial in search.study.list_trials())
        self._bar = Bar(search.study.num_trials, group.folder.name, ended)

    def take(self) -> Task | None:
        """Takes a trial that a killed worker has left, or else makes the next one."""
        study = self.search.study
        with study.choosing():
            for trial in study.list_trials():
                is_open = trial.state == RUNNING and trial.number not in self._blocked
                lock = self._claim(trial.number) if is_open else None
                if lock is None:
                    continue  # it has ended, or another worker trains it
                if study.list_trials()[trial.number].state == RUNNING:
                    return partial(self._run, trial, lock)
                lock.close()  # its worker has ended it after the list was read
            number = study.propose()
            if number is None:
                return None
            lock = self._claim(number)
            assert lock is not None  # nobody else chooses meanwhile
            return partial(self._run, study.list_trials()[number], lock)

    def _claim(self, number: int) -> IO[bytes] | None:
        return self.group.claim(name_trial(number))

    def _run(self, trial: TrialRecord, lock: IO[bytes], runner: MemberRunner) -> None:
        with lock:
            ending = TrialTask(self.search, self.group, trial, self._variants).run(runner)
            if ending.state == BLOCKED:
                self._blocked.add(trial.number)
                self.logger.warning("trial %d cannot go on: %s", trial.number, ending.message)
        self._show(self.search.study.list_trials()[trial.number])

    def _show(self, trial: TrialRecord) -> None:
        """Logs the line of a trial that has ended."""
        if trial.state == RUNNING:
            return  # it is stopped and can go on
        with warning_of_errors(self.logger):
            write_hparams(self.group.folder, trial, self.search.objective, self.search.space)
        level = logging.WARNING if trial.state == FAILED else logging.INFO
        best = self.search.rank_trials()[:1]
        text = self._describe(trial) + ("  * best so far" if trial in best else "")
        self.logger.log(level, "trial %d: %s", trial.number, text)
        self._bar.advance()

    def _describe(self, trial: TrialRecord) -> str:
        scales = make_scales(self.search.space, [trial])
        values = [f"{scale.name}={scale.format(trial.values[scale.key])}" for scale in scales]
        metric = self.search.objective.metric
        score = "" if trial.score is None else f"{metric} {trial.score:.5g}"
        state = "" if trial.state == FINISHED else trial.state
        return "  ".join(filter(None, (state, score, " ".join(values), trial.message)))

    def has_blocked(self) -> bool:
        """Whether a trial has to wait until its folder is repaired."""
        return bool(self._blocked)

    def close(self) -> None:
        self._bar.close()


@contextlib.contextmanager
def warning_of_errors(logger: logging.Logger) -> Iterator[None]:
    """Logs a UserError as a warning: the search goes on without the file."""
    try:
        yield
    except UserError as error:
        logger.warning("%s", error)


def search(config: ConfigParser) -> None:
    """Runs the trials of a search that are left.

    Raises:
        UserError: the folder or the storage holds something else, or a run does not work.
    """
    logger = config.get_logger("search")
    group, num_jobs = Group(config, "search"), get_num_jobs(config)
    group.open()
    setup_logging()
    with group.discarded_on_error():
        opened = open_search(config, group.folder)
        trials = Trials(opened, group, logger)
        if not group.has_begun():
            found = estimate([sys.executable, *sys.argv])
            plan = describe_plan(opened.options, trials.repeat, opened.space, found, num_jobs)
            logger.info("\n".join(plan))
    workers = Workers(group, num_jobs)
    try:
        workers.run(trials.take)
    finally:
        trials.close()
    logger.info("\n".join(format_result(opened, is_repeated=trials.repeat is not None)))
    workers.exit_if_stopped()
    with warning_of_errors(logger):
        logger.info("Report: %s", write_report_of(opened))
    if trials.has_blocked() or not opened.rank_trials():
        sys.exit(1)
