"""Runs a search: chooses trials until all are made, and shows the best ones."""

from __future__ import annotations

import logging
import shlex
import sys
from typing import IO, Any

from base.commands import get_command, get_python_command
from base.groups.group import Group, Member
from base.groups.member import MemberRunner
from base.groups.options import SearchOptions
from base.groups.records import FAILED, FINISHED, PRUNED, RUNNING, TrialRecord
from base.groups.repetition import list_variants
from base.groups.space import label, read_space
from base.groups.study import Study
from base.groups.trial import TrialTask
from base.groups.workers import Task, Workers, get_num_jobs
from base.options import TrainerOptions, parse_monitor
from base.tools.run_record import Objective
from config import ConfigParser
from config.read.text import to_cell
from logger import setup_logging
from logger.progress import Bar
from utils.checkpoints import CONFIG
from utils.tables import format_table

BEST_SHOWN = 5
MAX_MESSAGE_CHARS = 120


def format_value(value: Any) -> str:
    """Returns a value of the space in a few characters; the config of the run has all digits."""
    return f"{value:.4g}" if isinstance(value, float) else to_cell(label(value))


class Trials:
    """The trials of a search, from which workers take.

    Args:
        config: of the search.
        group: its folder.
        logger: gets a line for each trial that ends.
    """

    def __init__(self, config: ConfigParser, group: Group, logger: logging.Logger) -> None:
        options: SearchOptions = config.options("search")
        trainer = TrainerOptions.from_section(config["trainer"])
        self.config, self.group, self.logger = config, group, logger
        self.space = read_space(options)
        self.objective = Objective(*parse_monitor(trainer.monitor))
        name = f"{config['name']}/{group.folder.name}"
        self.study = Study(
            name, options.storage, group.folder, options, self.space, self.objective, config.seed
        )
        self.can_grow = options.sampler != "grid"
        self._by_step = trainer.validate_steps is not None
        has_repeat = bool(config.get("repeat"))
        self._variants = list_variants(config.options("repeat"), config) if has_repeat else {"": {}}
        trials = self.study.list_trials()
        ended = sum(trial.state != RUNNING for trial in trials)
        self._bar = Bar(self.study.num_trials, group.folder.name, ended)

    def take(self) -> Task | None:
        """Takes a trial that a killed worker has left, or else makes the next one."""
        with self.study.choosing():
            for trial in self.study.list_trials():
                if trial.state == RUNNING and (lock := self._claim(trial.number)):
                    return self._make_task(trial, lock)
            number = self.study.propose()
            if number is None:
                return None
            lock = self._claim(number)
            assert lock is not None  # nobody else chooses meanwhile
            return self._make_task(self.study.list_trials()[number], lock)

    def _claim(self, number: int) -> IO[bytes] | None:
        return self.group.claim(f"trial-{number}")

    def _make_task(self, trial: TrialRecord, lock: IO[bytes]) -> Task:
        task = TrialTask(
            self.study, self.group, trial, self._variants, self.objective, self._by_step, lock
        )

        def run(runner: MemberRunner) -> None:
            task.run(runner)
            self._show(self.study.list_trials()[trial.number])

        return run

    def _show(self, trial: TrialRecord) -> None:
        """Logs the line of a trial that has ended."""
        if trial.state == RUNNING:
            return  # it is stopped and can go on
        level = logging.WARNING if trial.state == FAILED else logging.INFO
        is_best = trial.number in [best.number for best in self.list_best()[:1]]
        text = self._describe(trial) + ("  * best" if is_best else "")
        self.logger.log(level, "trial %d: %s", trial.number, text)
        self._bar.advance()

    def _describe(self, trial: TrialRecord) -> str:
        values = " ".join(f"{key}={format_value(value)}" for key, value in trial.values.items())
        score = "" if trial.score is None else f"{self.objective.metric} {trial.score:.5g}  "
        state = "" if trial.state == FINISHED else f"{trial.state}  "
        message = f"  {trial.message}" if trial.message else ""
        return f"{state}{score}{values}{message}"

    def list_best(self) -> list[TrialRecord]:
        """Lists the finished trials, the best first."""
        found = [trial for trial in self.study.list_trials() if trial.state == FINISHED]
        is_reversed = self.objective.mode == "max"
        return sorted(found, key=lambda trial: trial.score or 0.0, reverse=is_reversed)

    def list_arguments(self, trial: TrialRecord, run_id: str) -> str:
        """Returns the arguments of train.py that train the values of a trial as another run."""
        folder = self.group.folder / f"trial-{trial.number}"
        if list(self._variants) == [""]:
            return f"-c {shlex.quote(str(folder / CONFIG))} --run-id {run_id}"
        member = Member(run_id, folder, trial.values)
        return shlex.join(member.list_arguments(self.group.path, ["search"]))

    def close(self) -> None:
        self._bar.close()


def search(config: ConfigParser) -> None:
    """Runs the trials of a search that are left.

    Raises:
        UserError: the folder or the storage holds something else.
    """
    logger = config.get_logger("search")
    group = Group(config, "search")
    group.open()
    setup_logging()
    with group.discarded_on_error():
        trials = Trials(config, group, logger)
    workers = Workers(group, get_num_jobs(config))
    try:
        workers.run(trials.take)
    finally:
        trials.close()
    logger.info(format_result(trials))
    workers.exit_if_stopped()
    if not trials.list_best():
        sys.exit(1)


def format_result(trials: Trials) -> str:
    """Returns the last lines of a search: the best trials, and the commands to use next."""
    records = trials.study.list_trials()
    counts = [
        f"{sum(trial.state == state for trial in records)} {state}"
        for state in (FINISHED, PRUNED, FAILED, RUNNING)
        if any(trial.state == state for trial in records)
    ]
    folder = trials.group.folder
    lines = [f"{len(records)} of {trials.study.num_trials} trials: {', '.join(counts) or 'none'}"]
    best = trials.list_best()
    train, test = get_command("train.py"), get_command("test.py")
    path = shlex.quote(str(folder))
    commands = {"go on": f"{train} -r {path}"}
    if best:
        keys = list(trials.space)
        rows = [("trial", trials.objective.metric, *keys)]
        for trial in best[:BEST_SHOWN]:
            values = [format_value(trial.values[key]) for key in keys]
            rows.append((str(trial.number), f"{trial.score:.6g}", *values))
        lines += format_table(rows)
        winner = shlex.quote(str(folder / f"trial-{best[0].number}"))
        commands = {
            "test": f"{test} -r {winner}",
            "train": f"{train} {trials.list_arguments(best[0], f'{folder.name}-best')}",
        } | commands
        if trials.can_grow:
            commands["go on"] += " search.trials=N"
    commands["watch"] = f"{get_python_command()} -m tensorboard.main --logdir {path}"
    lines.append(f"Folder: {folder}")
    return "\n".join(lines + [f"  to {name:6} {command}" for name, command in commands.items()])
