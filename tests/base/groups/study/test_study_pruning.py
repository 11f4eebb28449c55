"""Reports of a trial, and the pruners of Optuna that decide on them."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

from base.groups.study.study import Study
from tests.base.groups.study.studies import make_study
from utils.errors import UserError

optuna = pytest.importorskip("optuna")
NUM_TRIALS, NUM_STEPS = 12, 5
HYPERBAND = {"type": "HyperbandPruner", "args": {"max_resource": 5, "reduction_factor": 2}}
PATIENT = {
    "type": "optuna.pruners.PatientPruner",
    "args": {"wrapped_pruner": {"type": "MedianPruner"}, "patience": 1},
}
CASES = [
    ("MedianPruner", lambda: optuna.pruners.MedianPruner()),
    ({"type": "SuccessiveHalvingPruner"}, lambda: optuna.pruners.SuccessiveHalvingPruner()),
    (HYPERBAND, lambda: optuna.pruners.HyperbandPruner(max_resource=5, reduction_factor=2)),
    (PATIENT, lambda: optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(), 1)),
]

IDS = ["median", "halving", "hyperband", "patient"]


def list_curves() -> list[list[float]]:
    """The reports of the trials, without the pruner."""
    generator = random.Random(1)
    levels = [generator.random() for _ in range(NUM_TRIALS)]
    return [
        [level + generator.random() / step for step in range(1, NUM_STEPS + 1)] for level in levels
    ]


def list_last_steps_of_optuna(pruner: Any) -> list[int]:
    """The last step of each trial in a plain study of Optuna."""
    study = optuna.create_study(study_name="digits/lr", pruner=pruner)
    last_steps = []
    for curve in list_curves():
        trial = study.ask()
        for step, score in enumerate(curve, start=1):
            trial.report(score, step)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, curve[-1])
        last_steps.append(step)
    return last_steps


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(("pruner", "make_pruner"), CASES, ids=IDS)
def test_a_pruner_decides_as_in_a_study_that_was_not_closed(
    tmp_path: Path, pruner: Any, make_pruner: Any
) -> None:
    def open_study() -> Study:
        return make_study(tmp_path, sampler="random", pruner=pruner)

    study = open_study()
    last_steps = []
    for curve in list_curves():
        number = study.propose()
        assert number is not None
        for step, score in enumerate(curve, start=1):
            stops = study.report(number, step, score)
            if step == 2:  # a restart, which reports the last step again
                study = open_study()
                assert study.is_pruned(number) == stops
                assert study.report(number, step, score) == stops
            if stops:
                study.prune(number)
                break
        else:
            study.finish(number, curve[-1])
        last_steps.append(step)
    assert last_steps == list_last_steps_of_optuna(make_pruner())
    assert min(last_steps) < NUM_STEPS


def test_a_report_of_nan_is_kept_and_pruned(tmp_path: Path) -> None:
    pruner = {"type": "ThresholdPruner", "args": {"upper": 10.0}}
    study = make_study(tmp_path, pruner=pruner)
    number = study.propose()
    assert number is not None
    assert study.report(number, 1, 1.0) is False
    assert study.report(number, 2, math.nan) is True
    study.prune(number)
    study.report(number, 3, 1.0)
    trial = study.list_trials()[number]
    assert (trial.state, trial.score) == ("pruned", None)
    assert [str(score) for score in trial.reports.values()] == ["1.0", "nan"]


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        ("MedianPrune", "did you mean 'MedianPruner'"),
        ({"type": "PercentilePruner"}, "missing 1 required positional argument: 'percentile'"),
        ("torch.optim.SGD", "does not fit"),
    ],
)
def test_a_wrong_pruner_is_refused_before_anything_is_stored(
    tmp_path: Path, pruner: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_study(tmp_path, pruner=pruner)
    assert not list(tmp_path.iterdir())
