"""One trial of a search: a run, or a repetition of runs, whose score goes into the study."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import inf
from typing import Any

from base.groups.running.group import Group, Member
from base.groups.running.member import FAILED, FINISHED, STOPPED, TIME_LIMIT, Ending, MemberRunner
from base.groups.study.opened_search import OpenedSearch
from base.groups.study.records import TrialRecord
from base.tools.group_record import ENDING
from base.tools.run_record import RunRecord
from utils.checkpoints import checkpoint_number, list_checkpoints
from utils.files import write_text
from utils.link import GO_ON

PRUNER = "the pruner"  # the reason why a run is stopped


class TrialTask:
    """Trains the runs of one trial, and tells the study how the trial has ended.

    Args:
        search: the search.
        group: its folder.
        trial: its number and values.
        variants: the runs of the trial: the name of each, and what it changes besides. A trial
            without a repetition has one, with an empty name.
    """

    def __init__(
        self,
        search: OpenedSearch,
        group: Group,
        trial: TrialRecord,
        variants: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.study, self.objective = search.study, search.objective
        self.number = trial.number
        self._x = "step" if search.by_step else "epoch"
        self._is_repeated = list(variants) != [""]
        self.members = [
            group.make_member(f"{trial.name}/{name}".rstrip("/"), {**trial.values, **more})
            for name, more in variants.items()
        ]

    def run(self, runner: MemberRunner) -> Ending:
        """Runs the trial to its end, or until a signal stops it. Returns how it has ended."""
        ending = self._run_members(runner)
        if ending.state == FAILED:
            self._mark("failed")
            self.study.fail(self.number, ending.message)
        elif ending.message == PRUNER:
            self._mark("pruned")
            self.study.prune(self.number)
        elif ending.state == FINISHED:
            self.study.finish(self.number, self._get_mean(self.members))
        return ending

    def _mark(self, state: str) -> None:
        """Notes in the folder of a repeated trial that no further run of it is needed."""
        if self._is_repeated:
            folder = self.members[0].folder.parent
            write_text(folder / ENDING, json.dumps({"state": state}))

    def _run_members(self, runner: MemberRunner) -> Ending:
        if self._is_repeated and self.study.is_pruned(self.number):
            return Ending(STOPPED, PRUNER)
        for count, member in enumerate(self.members, start=1):
            ending = runner.run(member, self._answer, self._find_reason_to_stop)
            if ending.state != FINISHED and ending != Ending(STOPPED, TIME_LIMIT):
                return ending
            record = RunRecord(member.folder)
            if record.best is None:
                metric = self.objective.metric
                return Ending(FAILED, f"{metric} was never a finite number in {record.name}")
            is_last = count == len(self.members)
            if not is_last and self.study.report(
                self.number, count, self._get_mean(self.members[:count])
            ):
                return Ending(STOPPED, PRUNER)
        return Ending(FINISHED)

    def _find_reason_to_stop(self) -> str:
        """Returns ``PRUNER`` if the pruner stops the trial, after what a kill has left behind.

        A run that was killed before it had saved must start again, and then gets the same answer.
        """
        if self._is_repeated:
            return GO_ON
        folder = self.members[0].folder
        rows = RunRecord(folder).rows
        if all(self._answer(row) == GO_ON for row in rows) or not list_checkpoints(folder):
            return GO_ON
        saved = checkpoint_number(list_checkpoints(folder)[0])
        last = (rows[-1]["epoch"], rows[-1]["step"] if "batch" in rows[-1] else inf)
        return PRUNER if saved >= last else GO_ON

    def _answer(self, numbers: dict[str, Any]) -> str:
        """Reports a validation of the run. Returns ``GO_ON``, or the reason to stop it."""
        score = numbers.get(self.objective.metric)
        if self._is_repeated or not isinstance(score, int | float):
            return GO_ON
        return PRUNER if self.study.report(self.number, numbers[self._x], score) else GO_ON

    def _get_mean(self, members: list[Member]) -> float:
        scores = [RunRecord(member.folder).best for member in members]
        values = [score.value for score in scores if score is not None]
        return sum(values) / len(values)
