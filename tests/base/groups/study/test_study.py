"""Study: trials are proposed and ended through Optuna's storage, also by several workers."""

from __future__ import annotations

import math
import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest

from base.groups.plan.space import Range
from tests.base.groups.study.studies import (
    ARCHITECTURES,
    SPACE,
    list_values,
    make_study,
    run_trials,
)
from utils.errors import UserError

SAMPLERS = [
    "random",
    "tpe",
    {"type": "TPESampler", "args": {"multivariate": False, "n_startup_trials": 4}},
    {"type": "TPESampler", "args": {"multivariate": True, "group": True, "n_startup_trials": 4}},
    {"type": "optuna.samplers.NSGAIISampler", "args": {"population_size": 4}},
    {"type": "QMCSampler", "args": {"scramble": True}},
    {"type": "GPSampler", "args": {"n_startup_trials": 10}},
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_a_search_that_goes_on_proposes_the_same_as_one_that_was_not_stopped(
    tmp_path: Path, sampler: Any
) -> None:
    study = make_study(tmp_path / "a", sampler=sampler)
    run_trials(study, 12)
    for count in (4, 1, 7):
        run_trials(make_study(tmp_path / "b", sampler=sampler), count)
    again = make_study(tmp_path / "b", sampler=sampler)
    assert list_values(again) == list_values(study)
    different = {str(values) for values in list_values(study)}
    assert len(different) >= 7


def test_a_grid_is_tried_in_its_order_and_once(tmp_path: Path) -> None:
    space = {"arch": SPACE["arch"], "x": Range(0.0, 0.3, step=0.1), "y": SPACE["seedy"]}
    study = make_study(tmp_path, space=space, sampler="grid", trials=None)
    numbers = []
    while (number := study.propose()) is not None:
        numbers.append(number)
    assert numbers == list(range(2 * 4 * 5))
    found = [trial.values for trial in study.list_trials()]
    assert found[0] == {"arch": ARCHITECTURES[0], "x": 0.0, "y": 1}
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


def _work(folder: Path) -> None:
    study = make_study(folder, trials=30, sampler="random")
    while True:
        with study.choosing():
            number = study.propose()
        if number is None:
            return
        study.report(number, 1, 1.0)
        study.finish(number, float(number))


def test_workers_divide_the_trials_of_a_search(tmp_path: Path) -> None:
    """None is proposed twice, and no worker fails because the database is locked."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_work, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    trials = make_study(tmp_path, trials=30, sampler="random").list_trials()
    assert [trial.score for trial in trials] == [float(number) for number in range(30)]
    assert len({str(trial.values) for trial in trials}) == 30


def test_one_worker_at_a_time_chooses(tmp_path: Path) -> None:
    first, second = make_study(tmp_path), make_study(tmp_path)
    order = []

    def choose() -> None:
        with second.choosing():
            order.append("second")

    thread = threading.Thread(target=choose)
    with first.choosing():
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_trials_may_be_added_later(tmp_path: Path) -> None:
    run_trials(make_study(tmp_path, trials=2), 2)
    assert make_study(tmp_path, trials=2).propose() is None
    assert make_study(tmp_path, trials=3).propose() == 2


def test_the_important_key_has_the_highest_importance(tmp_path: Path) -> None:
    study = make_study(tmp_path, sampler="random", trials=24)
    run_trials(study, 3)
    assert study.compute_importances() == {}
    for _ in range(21):
        number = study.propose()
        assert number is not None
        lr = study.list_trials()[number].values["optimizer.args.lr"]
        study.finish(number, abs(math.log10(lr) + 2))
    found = study.compute_importances()
    assert found.keys() == SPACE.keys()
    assert next(iter(found)) == "optimizer.args.lr"
    assert sum(found.values()) == pytest.approx(1)


def test_another_search_under_the_name_is_refused(tmp_path: Path) -> None:
    make_study(tmp_path).propose()
    space = SPACE | {"optimizer.args.lr": Range(1e-3, 1e-1, log=True)}
    with pytest.raises(UserError, match=r"optimizer.args.lr is .*0.0001.* there"):
        make_study(tmp_path, space=space)
    with pytest.raises(UserError, match=r"seed is 1 there"):
        make_study(tmp_path, seed=2)
    with pytest.raises(UserError, match=r'search.sampler is "tpe" there'):
        make_study(tmp_path, sampler="random")


def test_the_trials_stay_when_the_folder_is_renamed(tmp_path: Path) -> None:
    study = make_study(tmp_path / "before")
    run_trials(study, 2)
    trials = study.list_trials()
    (tmp_path / "before").rename(tmp_path / "after")
    renamed = make_study(tmp_path / "after", name="digits/after")
    assert renamed.list_trials() == trials
    run_trials(renamed, 1)
    assert len(renamed.list_trials()) == 3
