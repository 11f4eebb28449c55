"""The order of trials: which is the best, and which scores count."""

from __future__ import annotations

import math
from collections.abc import Iterable

from base.groups.study.records import FAILED, FINISHED, PRUNED, RUNNING, TrialRecord
from base.tools.run_record import Objective

STATES = (FINISHED, PRUNED, RUNNING, FAILED)  # in the order of a table


def get_score(trial: TrialRecord) -> float | None:
    """Returns the score of a trial; None if it has none, or one that is not finite."""
    is_number = trial.score is not None and math.isfinite(trial.score)
    return trial.score if is_number else None


def find_best(trials: Iterable[TrialRecord], objective: Objective) -> TrialRecord | None:
    """Returns the finished trial with the best score; of equal ones the first."""
    ranked = rank_trials(trials, objective)
    is_found = bool(ranked) and ranked[0].state == FINISHED and get_score(ranked[0]) is not None
    return ranked[0] if is_found else None


def rank_trials(trials: Iterable[TrialRecord], objective: Objective) -> list[TrialRecord]:
    """Sorts trials: finished, pruned, running and failed ones, each state by score."""
    sign = 1 if objective.mode == "min" else -1

    def get_key(trial: TrialRecord) -> tuple[bool, int, float, int]:
        score = get_score(trial)
        is_unscored = trial.state == FINISHED and score is None
        rank = math.inf if score is None else sign * score
        return is_unscored, STATES.index(trial.state), rank, trial.number

    return sorted(trials, key=get_key)
