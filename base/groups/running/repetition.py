"""Runs the members of a repetition, and summarises their numbers."""

from __future__ import annotations

import logging
import shlex
import sys
from functools import partial
from typing import IO, Any

from base.commands import format_commands, get_command
from base.groups.options import RepeatOptions
from base.groups.plan.estimate import describe_plan, estimate
from base.groups.running.group import Group, Member
from base.groups.running.member import BLOCKED, FAILED, FINISHED, MemberRunner
from base.groups.running.summary import Summary
from base.groups.running.workers import Task, Workers, get_num_jobs
from base.groups.testing.out_of_fold import write_out_of_fold
from base.tools.member_names import name_variant
from base.tools.run_record import RunRecord
from config import ConfigParser
from logger import setup_logging
from logger.progress import Bar
from utils.errors import UserError


def list_variants(options: RepeatOptions, config: ConfigParser) -> dict[str, dict[str, Any]]:
    """Lists the runs of a repetition: the name of each, and what it changes in the config.

    With several seeds, each seed draws folds of its own.
    """
    seeds = options.list_seeds(config.seed)
    variants: dict[str, dict[str, Any]] = {}
    for index, seed in enumerate(seeds):
        changes: dict[str, Any] = {} if options.seeds is None else {"seed": seed}
        named_seed = None if options.seeds is None else seed
        if options.folds is None:
            variants[name_variant(named_seed, None)] = changes
            continue
        args = config["data_loader"].get("args") or {}
        split: dict[str, Any] = {"folds": options.folds}
        if args.get("validation_split"):
            split["validation_split"] = 0
        is_random = args.get("validation_split_by", "random") == "random"
        if is_random and options.seeds is not None and config.takes("data_loader", "split_seed"):
            split["split_seed"] = args.get("split_seed", 0) + index
        for fold in range(1, options.folds + 1):
            inner = split | {"fold": fold}
            changed = {f"data_loader.args.{key}": value for key, value in inner.items()}
            variants[name_variant(named_seed, fold)] = changes | changed
    return variants


class Repetition:
    """A repetition that is going on.

    Args:
        group: its folder.
        members: its runs.
        logger: gets a line for each run that ends.
    """

    def __init__(self, group: Group, members: list[Member], logger: logging.Logger) -> None:
        self.group = group
        self.members = members
        self.logger = logger
        self.failures: dict[str, str] = {}
        self._taken: set[str] = set()
        self._bar = Bar(len(members), self.group.folder.name)

    def take(self) -> Task | None:
        """Takes the next run that is not finished, and that no other worker has."""
        for member in self.members:
            name = member.folder.name
            if name in self._taken:
                continue
            lock = self.group.claim(name)
            if lock is not None:
                self._taken.add(name)
                return partial(self._run, member, lock)
        return None

    def _run(self, member: Member, lock: IO[bytes], runner: MemberRunner) -> None:
        with lock:
            ending = runner.run(member)
        name = member.folder.name
        if ending.state == FINISHED:
            self.logger.info("%s: %s", name, RunRecord(member.folder).format_best())
            self._bar.advance()
        elif ending.state in (FAILED, BLOCKED):
            self.failures[name] = ending.message
            self.logger.warning("%s has failed: %s", name, ending.message)
            self._bar.advance()

    def close(self) -> None:
        self._bar.close()


def repeat(config: ConfigParser) -> None:
    """Trains all runs of a repetition, and summarises them.

    Raises:
        UserError: the folder holds something else.
    """
    logger = config.get_logger("repeat")
    group, num_jobs = Group(config, "repeat"), get_num_jobs(config)
    group.open()
    setup_logging()
    options = config.options("repeat")
    variants = list_variants(options, config)
    with group.discarded_on_error():
        members = [group.make_member(name, changes) for name, changes in variants.items()]
        if not group.has_begun():
            found = estimate([sys.executable, *sys.argv])
            for line in describe_plan(None, options, {}, found, num_jobs):
                logger.info(line)
    repetition = Repetition(group, members, logger)
    workers = Workers(group, num_jobs)
    try:
        workers.run(repetition.take)
    finally:
        repetition.close()
    if not workers.signals.received:
        show_result(group, logger)
    left = [member.folder for member in members if RunRecord(member.folder).state != FINISHED]
    if left:
        names = ", ".join(folder.name for folder in left)
        command = f"{get_command('train.py')} -r {shlex.quote(str(group.folder))}"
        logger.info("Not finished: %s. Continue with: %s", names, command)
    workers.exit_if_stopped()
    if repetition.failures:
        sys.exit(1)


def show_result(group: Group, logger: logging.Logger) -> None:
    """Writes and logs the means of the runs, and joins the predictions of folds."""
    summary = Summary(group.folder)
    if summary.runs:
        logger.info("\n".join(summary.format_lines()))
        logger.info("Summary: %s", summary.write())
    if group.config["repeat"].get("folds") is not None and summary.runs:
        try:
            logger.info("Report: %s", write_out_of_fold(group.folder, group.config.get_schema()))
        except UserError as error:
            logger.warning("There are no out-of-fold predictions: %s", error)
    lines = [f"Folder: {group.folder}", *format_commands(list_commands(group))]
    logger.info("\n".join(lines))


def list_commands(group: Group) -> dict[str, str]:
    """Returns the commands to use after a repetition, by their purpose."""
    folder = shlex.quote(str(group.folder))
    commands = {"test": f"{get_command('test.py')} -r {folder}"}
    if group.config["repeat"].get("seeds") is not None:
        commands["go on"] = f"{get_command('train.py')} -r {folder} repeat.seeds=N"
    return commands
