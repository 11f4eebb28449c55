"""Study: trials are proposed, reported and ended through Optuna's storage."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from base.groups.options import SearchOptions
from base.groups.space import Choices, Range
from base.groups.study import Study
from base.tools.run_record import Objective
from utils.errors import UserError

PARTS = [{"type": "SmallNet"}, {"type": "SmallNet", "args": {"width": 2}}]
SPACE = {
    "arch": Choices(PARTS),
    "optimizer.args.lr": Range(1e-4, 1e-1, log=True),
    "model.width": Range(8, 64, step=8, is_integer=True),
    "loss.smoothing": Range(0.0, 0.3, step=0.1),
    "seedy": Choices([1, 1.0, True, "1", None]),
}


def make_study(folder: Path, space: Any = SPACE, seed: int = 1, **options: Any) -> Study:
    """Makes a study that minimises; ``options`` are those of the section ``search``."""
    options = {"sampler": "tpe", "trials": 16, "pruner": None, "storage": None} | options
    section = SearchOptions(space={}, **options)
    objective = Objective("min", "val_loss")
    return Study("digits/lr", section.storage, folder, section, space, objective, seed)


def score_of(values: Any) -> float:
    """A function of the values to minimise, with its best value inside of the ranges."""
    return (
        abs(math.log10(values["optimizer.args.lr"]) + 2)
        + abs(values["model.width"] - 32) / 32
        + (values["arch"] == PARTS[1])
        + (values["loss.smoothing"] - 0.1) ** 2
    )


def run_trials(study: Study, count: int) -> None:
    """Proposes and finishes ``count`` trials."""
    for _ in range(count):
        number = study.propose()
        assert number is not None
        study.finish(number, score_of(study.list_trials()[number].values))


def list_values(study: Study) -> list[Any]:
    return [trial.values for trial in study.list_trials()]


SAMPLERS = [
    "random",
    "tpe",
    {"type": "TPESampler", "args": {"multivariate": False, "n_startup_trials": 4}},
    {"type": "TPESampler", "args": {"multivariate": True, "group": True, "n_startup_trials": 4}},
    {"type": "optuna.samplers.NSGAIISampler", "args": {"population_size": 4}},
    {"type": "QMCSampler", "args": {"scramble": True}},
    {"type": "QMCSampler"},
    {"type": "GPSampler", "args": {"n_startup_trials": 12}},
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_a_search_that_goes_on_proposes_the_same_as_one_that_was_not_stopped(
    tmp_path: Path, sampler: Any
) -> None:
    study = make_study(tmp_path / "a", sampler=sampler)
    run_trials(study, 14)
    for count in (5, 1, 8):
        run_trials(make_study(tmp_path / "b", sampler=sampler), count)
    again = make_study(tmp_path / "b", sampler=sampler)
    assert list_values(again) == list_values(study)
    different = {str(values) for values in list_values(study)}
    assert len(different) >= 8


def test_a_grid_is_tried_in_its_order_and_once(tmp_path: Path) -> None:
    space = {"arch": SPACE["arch"], "x": Range(0.0, 0.3, step=0.1), "y": SPACE["seedy"]}
    study = make_study(tmp_path, space=space, sampler="grid", trials=None)
    numbers = []
    while (number := study.propose()) is not None:
        numbers.append(number)
    assert numbers == list(range(2 * 4 * 5))
    found = [trial.values for trial in study.list_trials()]
    assert found[0] == {"arch": PARTS[0], "x": 0.0, "y": 1}
    assert [type(values["y"]) for values in found[:5]] == [int, float, bool, str, type(None)]
    assert len({str(values) for values in found}) == 40


def test_a_trial_ends_once(tmp_path: Path) -> None:
    study = make_study(tmp_path, trials=4)
    for _ in range(4):
        study.propose()
    assert study.propose() is None
    study.finish(0, 0.5)
    study.fail(0, "too late")
    study.fail(1, "no memory")
    study.finish(1, 1.0)
    study.report(2, 1, 0.75)
    study.prune(2)
    study.prune(2)
    study.finish(3, math.nan)
    trials = study.list_trials()
    assert [trial.state for trial in trials] == ["finished", "failed", "pruned", "failed"]
    assert [trial.score for trial in trials] == [0.5, None, 0.75, None]
    assert [trial.message for trial in trials] == ["", "no memory", "", "its score is NaN"]
    assert trials[2].reports == {1: 0.75}


def test_another_search_under_the_name_is_refused(tmp_path: Path) -> None:
    make_study(tmp_path).propose()
    space = SPACE | {"optimizer.args.lr": Range(1e-3, 1e-1, log=True)}
    with pytest.raises(UserError, match=r"optimizer.args.lr is .*0.0001.* there"):
        make_study(tmp_path, space=space)
    with pytest.raises(UserError, match=r"seed is 1 there"):
        make_study(tmp_path, seed=2)
    with pytest.raises(UserError, match=r'search.sampler is "tpe" there'):
        make_study(tmp_path, sampler="random")
