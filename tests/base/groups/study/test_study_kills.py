"""A worker that is killed at any statement leaves each trial out of the storage or complete."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

from base.groups.study.records import RUNNING, TrialRecord
from tests.base.groups.study.studies import make_study, score_of

NUM_TRIALS, NUM_STEPS = 4, 2
KILLED = 9
OPTIONS: dict[str, Any] = {
    "sampler": {"type": "TPESampler", "args": {"n_startup_trials": 2}},
    "pruner": {
        "type": "SuccessiveHalvingPruner",
        "args": {"min_resource": 1, "reduction_factor": 2},
    },
    "trials": NUM_TRIALS,
}


def work(folder: Path, after_opening: Callable[[], None] = lambda: None) -> None:
    """Goes on with a search until it has ended."""
    study = make_study(folder, **OPTIONS)
    after_opening()
    while True:
        with study.choosing():
            stale = [trial.number for trial in study.list_trials() if trial.state == RUNNING]
            number = stale[0] if stale else study.propose()
        if number is None:
            return
        trial = study.list_trials()[number]
        is_pruned = study.is_pruned(number)
        for step in range(1, NUM_STEPS + 1):
            if step not in trial.reports:  # as after a resume from the checkpoint of this step
                is_pruned = is_pruned or study.report(number, step, score_of(trial.values) / step)
        if is_pruned:
            study.prune(number)
        else:
            study.finish(number, score_of(trial.values))


def work_until_killed(folder: Path, num_statements: int) -> int:
    """Works in another process, which dies at its statement ``num_statements`` after the opening.

    Returns:
        Its exit status; 0 if the search has ended.
    """
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    statements = itertools.count(1)

    def die(*_: Any) -> None:
        if next(statements) == num_statements:
            os._exit(KILLED)

    def listen() -> None:
        event.listen(Engine, "before_cursor_execute", die)
        event.listen(Engine, "commit", die)

    try:
        work(folder, listen)
    except BaseException:
        os._exit(1)
    os._exit(0)


def list_facts(folder: Path) -> list[TrialRecord]:
    """Lists the trials without their times."""
    trials = make_study(folder, **OPTIONS).list_trials()
    return [replace(trial, started=None, ended=None) for trial in trials]


def test_a_search_whose_workers_are_killed_anywhere_ends_with_the_same_trials(
    tmp_path: Path,
) -> None:
    work(tmp_path / "calm")
    expected = list_facts(tmp_path / "calm")
    assert {trial.state for trial in expected} == {"finished", "pruned"}
    # No step of a search has more than 50 statements. The factor shuffles the numbers.
    moments = (25 + index * 37 % 50 for index in range(200))
    statuses = list(
        itertools.takewhile(
            bool, (work_until_killed(tmp_path / "killed", moment) for moment in moments)
        )
    )
    assert set(statuses) == {KILLED}
    assert len(statuses) > NUM_TRIALS
    assert list_facts(tmp_path / "killed") == expected
