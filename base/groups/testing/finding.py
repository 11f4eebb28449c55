"""Finds the runs of a group to test: all of them, or the best trial of a search."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from base.tools.group_record import SEARCH, GroupRecord, get_score, is_group
from base.tools.run_record import RunRecord
from utils.errors import UserError

NAMES_SHOWN = 5


class BestTrial(NamedTuple):
    """The finished trial of a search with the best score.

    Attributes:
        folder: of the trial: a run, or a group of runs.
        is_run: whether it is a run.
        description: a sentence about the choice.
    """

    folder: Path
    is_run: bool
    description: str


def list_runs(group: Path) -> list[RunRecord]:
    """Lists the runs one level below the folder of a group, ``trial-2`` before ``trial-10``.

    Raises:
        UserError: there is none, or the folder is that of an experiment.
    """
    members = GroupRecord(group).members
    runs = [run for run in members if isinstance(run, RunRecord) and run.config]
    if not runs:
        raise UserError(f"{group}: holds no run yet")
    if not is_group(group):
        names = ", ".join(member.folder.name for member in members[:NAMES_SHOWN])
        names += ", …" if len(members) > NAMES_SHOWN else ""
        raise UserError(f"{group}: is the folder of all runs of an experiment; give one: {names}")
    return runs


def find_best_trial(group: Path) -> BestTrial | None:
    """Finds the best finished trial of a search; None if the group is no search.

    The score of a trial is its monitored number, or the mean of its runs.

    Raises:
        UserError: no trial is finished.
    """
    record = GroupRecord(group)
    if record.kind != SEARCH:
        return None
    best = record.best
    score = None if best is None else get_score(best)
    if best is None or score is None:
        raise UserError(f"{group}: no trial is finished yet, so there is none to test")
    count = sum(get_score(member) is not None for member in record.members)
    text = f"{best.folder.name} is the best of {count} finished trials of {group}"
    text += f": {record.monitor.metric} {score.mean:.6g}"
    return BestTrial(best.folder, isinstance(best, RunRecord), text)
