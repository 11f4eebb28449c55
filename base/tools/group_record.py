"""Reads the facts about a group of runs from its folder: a search, a repetition, or one by hand."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from base.tools.member_names import MEMBER_NAME, name_variant, natural_order
from base.tools.run_record import (
    MAX_WORDS,
    Facts,
    Objective,
    RunRecord,
    Variant,
    find_run_folders,
    get_names,
    is_member,
    list_folders,
    list_homes,
    read_facts,
    read_monitor,
)
from base.tools.statistics import Estimate, estimate_mean
from config.values import DEFAULT_SEED
from utils.checkpoints import CONFIG, GROUP
from utils.files import is_locked

SEARCH, REPEAT = "search", "repeat"
LOCKS = ".locks"  # the folder of the lock of each member that a worker has taken
ENDING = ".ending.json"  # of a repeated trial that needs no further runs: its ``state``
DONE, FAILED = ("finished", "pruned"), ("crashed", "failed", "partly failed")
MAX_EXPECTED = 1000  # seeds, and folds; a damaged file may name any number


def is_group(folder: Path) -> bool:
    """Whether ``folder`` holds the runs of a search or a repetition, or runs with ids like ``a/b``.

    The folder of an experiment, ``saved/NAME``, is no group.
    """
    if (folder / CONFIG).is_file():
        return False
    if (folder / GROUP).is_file():
        return True
    first = next(find_run_folders(folder, MAX_WORDS - 1), None)
    if first is None:
        return False
    name = read_facts(first / CONFIG).get("name")
    above = [parent.name for parent in folder.absolute().parents]
    # If the folder of an experiment was renamed, its name says nothing.
    is_renamed = name != folder.absolute().name and first.parent == folder
    return name in above or is_renamed


class GroupRecord:
    """The record of a group. Missing or damaged files in its folder give empty values.

    Args:
        folder: ``saved/NAME/ID``, or that of a trial that is repeated, ``saved/NAME/ID/trial-3``.
        home: the folder of the experiment, ``saved/NAME``; by default, the config tells its name.

    Attributes:
        config: that of ``group.json``; empty for a group by hand. A repeated trial has that of its
            search, without the section ``search``.
        kind: ``search``, ``repeat``, or empty for a group by hand.
        members: its runs, and the groups of repeated trials, in the order of their numbers. A
            member whose folder has no config yet is an empty RunRecord.
    """

    def __init__(self, folder: Path, home: Path | None = None) -> None:
        self.folder = folder
        self.config = read_facts(folder / GROUP) or _read_repeat(folder)
        sections = [key for key in (SEARCH, REPEAT) if isinstance(self.config.get(key), dict)]
        self.kind = sections[0] if sections else ""
        self.options: Facts = self.config.get(self.kind, {})
        self.members = self._read_members(home)
        runs = list(self.runs)
        self.experiment, self.name = get_names(
            folder, home, self.config or (runs[0].config if runs else {})
        )

    def _read_members(self, home: Path | None) -> list[Record]:
        found: list[Record] = []
        for folder in sorted(list_folders(self.folder), key=natural_order):
            is_repeated = self.kind == SEARCH and bool(_read_repeat(folder))
            if is_group(folder) or (is_repeated and not is_member(folder)):
                found.append(GroupRecord(folder, home))
            elif is_member(folder) or (self.kind and MEMBER_NAME.fullmatch(folder.name)):
                found.append(RunRecord(folder, home))
        return found

    @property
    def runs(self) -> Iterator[RunRecord]:
        """All runs in it, also those of repeated trials."""
        for member in self.members:
            if isinstance(member, GroupRecord):
                yield from member.runs
            else:
                yield member

    @property
    def start_seconds(self) -> float:
        """The time of the first start of its runs since 1970; 0 if it is not known."""
        return min((run.start_seconds for run in self.runs if run.started), default=0.0)

    @property
    def started(self) -> str:
        """The same as text; empty if it is not known."""
        started = [run for run in self.runs if run.started]
        return min(started, key=lambda run: run.start_seconds).started if started else ""

    # -- state -------------------------------------------------------------------------------------

    @cached_property
    def state(self) -> str:
        """``running``, ``finished``, ``pruned``, ``stopped``, ``partly failed``, or ``failed``."""
        states = [get_state(member) for member in self.members]
        num_failed = sum(state in FAILED for state in states)
        if "running" in states:
            return "running"
        ending = read_facts(self.folder / ENDING).get("state")
        if self.kind == REPEAT and ending in ("pruned", "failed"):
            return str(ending)
        if num_failed + self.num_done < max(self.total, 1):
            locks = (self.folder / LOCKS).glob("*")
            return "running" if any(is_locked(path) for path in locks) else "stopped"
        if not num_failed:
            return "finished"
        return "partly failed" if self.num_done else "failed"

    @property
    def num_done(self) -> int:
        """The number of members that are finished or pruned."""
        return sum(get_state(member) in DONE for member in self.members)

    @property
    def total(self) -> int:
        """The number of members that there will be, as far as the config tells."""
        if self.kind == REPEAT:
            return len({*self.expected, *(member.folder.name for member in self.members)})
        if self.kind != SEARCH:
            return len(self.members)
        wanted = [self.options.get("trials"), self._count_points()]
        numbers = [number for number in wanted if type(number) is int]
        return max(len(self.members), min(numbers, default=0))

    def _count_points(self) -> int | None:
        """The size of a grid; None if the search has no end of its own, or has ranges."""
        space = self.options.get("space")
        if self.options.get("sampler") != "grid" or not isinstance(space, dict):
            return None
        sizes = [len(choices) for choices in space.values() if isinstance(choices, list)]
        return math.prod(sizes) if len(sizes) == len(space) else None

    @property
    def expected(self) -> list[str]:
        """The names of the members of a repetition, those that do not exist yet among them."""
        if self.kind != REPEAT:
            return []
        first, seeds = self.config.get("seed", DEFAULT_SEED), self.options.get("seeds")
        if type(seeds) is int and type(first) is int:
            seeds = range(first, first + seeds)[:MAX_EXPECTED]
        if not isinstance(seeds, list | range | None):
            return []  # a reference
        count = self.options.get("folds")
        folds: Iterable[int | None] = [None]
        if type(count) is int:
            folds = range(1, count + 1)[:MAX_EXPECTED]
        seeds = [None] if seeds is None else seeds
        names = [name_variant(seed, fold) for seed in seeds for fold in folds]
        return [name for name in names if name]

    @property
    def missing(self) -> list[str]:
        """The members of a repetition that do not exist yet."""
        existing = {member.folder.name for member in self.members}
        return [name for name in self.expected if name not in existing]

    # -- scores ------------------------------------------------------------------------------------

    @property
    def monitor(self) -> Objective:
        """The number that its runs monitor."""
        trainer = self.config.get("trainer")
        found = read_monitor(trainer.get("monitor")) if isinstance(trainer, dict) else None
        if found is not None:
            return found
        runs = sorted(self.runs, key=lambda run: run.best is None)  # those with a score first
        return runs[0].monitor if runs else Objective("min", "loss")

    @cached_property
    def is_repetition(self) -> bool:
        """Whether its members have a seed or a fold each that no other has."""
        if self.kind:
            return self.kind == REPEAT
        variants = [member.variant for member in self.members if isinstance(member, RunRecord)]
        return len(set(variants)) == len(self.members)

    @cached_property
    def mean(self) -> Estimate | None:
        """The mean score of the finished runs of a repetition, with its interval."""
        if not self.is_repetition:
            return None
        monitor = self.monitor
        runs = [run for run in self.runs if is_counted(run) and run.monitor == monitor]
        scores = {run.variant: run.best.value for run in runs if run.best}
        return estimate_over(scores) if scores else None

    @cached_property
    def best(self) -> Record | None:
        """The finished member with the best score; None if there is none yet."""
        monitor = self.monitor
        members = [member for member in self.members if member.monitor == monitor]
        scored = [(score, member) for member in members if (score := get_score(member))]
        if not scored:
            return None
        return monitor.pick(scored, key=lambda pair: pair[0].mean)[1]


Record: TypeAlias = RunRecord | GroupRecord


def get_state(record: Record) -> str:
    """The state of a member. A run whose state is unknown is finished if it has a score."""
    if isinstance(record, RunRecord) and not record.state and record.best:
        return "finished"
    return record.state


def is_counted(run: RunRecord) -> bool:
    """Whether a run has come to its end, so that its score may be compared with others."""
    return get_state(run) == "finished"


def get_score(record: Record) -> Estimate | None:
    """The score of a finished run, or the mean of a finished repetition; otherwise None."""
    if isinstance(record, GroupRecord):
        return record.mean if record.state == "finished" else None
    best = record.best
    return Estimate(float(best.value), None) if best and is_counted(record) else None


def estimate_over(scores: Mapping[Variant, float]) -> Estimate:
    """Computes the mean of scores over seeds, folds or both, with the interval that fits."""
    return estimate_mean(average_over_seeds(scores), get_overlap(scores))


def average_over_seeds(scores: Mapping[Variant, float]) -> list[float]:
    """Returns a value for each seed or, with folds, for each fold of each split.

    Several seeds on the same fold share its data. They are averaged, because more seeds would
    otherwise make the interval as narrow as more data would.
    """
    found = defaultdict(list)
    for variant, score in scores.items():
        has_fold = variant.fold is not None
        found[(variant.split_seed, variant.fold) if has_fold else variant].append(score)
    return [math.fsum(values) / len(values) for values in found.values()]


def get_overlap(scores: Mapping[Variant, Any]) -> float:
    """The ratio of test to training samples of folds; 0 without folds."""
    folds = max((variant.folds or 0 for variant in scores if variant.fold is not None), default=0)
    return 1 / (folds - 1) if folds > 1 else 0.0


def list_records(root: Path) -> list[Record]:
    """Returns the runs and the groups below ``root``, the oldest first.

    Raises:
        UserError: ``root`` is not a folder.
    """
    found: list[Record] = []
    for home in list_homes(root):
        for folder in list_folders(home):
            if (folder / CONFIG).is_file():
                found.append(RunRecord(folder, home))
            elif (folder / GROUP).is_file() or next(find_run_folders(folder, MAX_WORDS - 1), None):
                found.append(GroupRecord(folder, home))
    return sorted(found, key=lambda record: (record.start_seconds, record.name))


def _read_repeat(folder: Path) -> Facts:
    """Returns the config of a trial that a search repeats; empty for any other folder."""
    config = read_facts(folder.parent / GROUP)
    if not isinstance(config.get(REPEAT), dict) or not MEMBER_NAME.fullmatch(folder.name):
        return {}
    return {key: value for key, value in config.items() if key != SEARCH}
