"""The options of ``search`` and ``repeat`` are checked before anything starts."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from base import BaseDataLoader
from tests.base.groups.plan.sweep import find_in_search, make_sections
from tests.config.check.project_file import add_project_file
from tests.config.check.small import CONFIG, find, run_check

GRID = {"sampler": "grid", "trials": ...}


def test_all_mistakes_are_found_at_once() -> None:
    lines = find_in_search(
        "search.trails=3",
        trials=0,
        sampler="tpee",
        pruner={"type": "MedianPruner", "args": {"warmup": 1}},
        storage="postgres",
        space={"optimizer.args.lrr": [1], "arch.args.width": []},
    )
    assert [line.partition(": ")[0] for line in sorted(lines)] == [
        "optimizer.args.lrr",
        "search.pruner.args.warmup",
        "search.sampler",
        'search.space."arch.args.width"',
        "search.storage",
        "search.trails",
        "search.trials",
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"space": {}}, "search.space: is empty; name the key of each value to vary"),
        ({"space": ...}, "search: search needs 'space'"),
        ({"trials": ...}, "search: needs 'trials', the number of trials; only 'sampler: grid' end"),
        ({"trials": 0}, "search.trials: 0 must be at least 1"),
        (GRID, "needs a 'step' for a grid, or a list of choices"),
        (
            GRID | {"space": {"seed": {"low": 1, "high": 20_000, "step": 1}}},
            "search.space: the grid has 20,000 points, and the limit is 10,000",
        ),
        ({"storage": "my.db"}, "search.storage: 'my.db' is no URL, such as postgresql+psycopg://"),
    ],
)
def test_a_wrong_option_is_reported(changes: dict[str, Any], line: str) -> None:
    (found,) = find_in_search(**changes)
    assert line in found


@pytest.mark.parametrize("monitor", [{}, {"monitor": "off"}])
def test_a_search_needs_a_number_to_compare(monitor: dict[str, str]) -> None:
    (line,) = find(**make_sections() | {"trainer": {"epochs": 1} | monitor})
    assert line.startswith("trainer.monitor: a search compares its trials by this number, and it")


def test_without_optuna_a_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("optuna", "optuna.samplers", "optuna.pruners"):
        monkeypatch.setitem(sys.modules, name, None)
    line = "search: needs optuna, which is not installed; pip install '.[search]' installs it"
    assert find_in_search() == [line]
    assert find_in_search(sampler={"type": "GPSampler"}, pruner="MedianPruner") == [line]


# -- samplers and pruners --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampler",
    [
        "random",
        "tpe",
        "GPSampler",
        "optuna.samplers.TPESampler",
        {"type": "TPESampler", "args": {"n_startup_trials": 3}},
        {
            "type": "optuna.samplers.PartialFixedSampler",
            "args": {
                "fixed_params": {"optimizer.args.lr": 0.1},
                "base_sampler": {"type": "RandomSampler"},
            },
        },
    ],
)
def test_a_sampler_is_a_word_a_name_or_a_component(sampler: Any) -> None:
    run_check(**make_sections(sampler=sampler))


@pytest.mark.parametrize(
    "pruner",
    [
        "MedianPruner",
        {"type": "optuna.pruners.SuccessiveHalvingPruner"},
        {
            "type": "PatientPruner",
            "args": {"wrapped_pruner": {"type": "MedianPruner"}, "patience": 2},
        },
    ],
)
def test_a_pruner_is_a_name_or_a_component(pruner: Any) -> None:
    run_check(**make_sections(pruner=pruner))


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        (
            "sampler",
            "tpee",
            "search.sampler: there is no 'tpee' (did you mean 'tpe'?); there are g",
        ),
        ("sampler", "CMA", "search.sampler: there is no 'CMA'; there are grid, random, tpe, "),
        ("sampler", "GridSampler", "'GridSampler' does not fit: write 'grid', which tries each po"),
        ("sampler", "BaseSampler", "'BaseSampler' is abstract; name a class that derives from it"),
        ("sampler", "optuna.load_study", "is a function, and this key takes a optuna.samplers.B"),
        ("sampler", {"type": "MedianPruner"}, "no 'MedianPruner' in optuna.samplers"),
        ("sampler", {"type": "TPESampler", "args": {"seed": 3}}, "args.seed: each trial gets a se"),
        ("sampler", {"type": "TPESampler", "args": {"n_startup": 3}}, "takes no 'n_startup' (did "),
        ("sampler", {"type": "NSGAIISampler", "args": {"population_size": 1}}, "must be greater"),
        ("pruner", "MedianPrunr", "there is no 'MedianPrunr' (did you mean 'MedianPruner'?)"),
        ("pruner", "NopPruner", "'NopPruner' does not fit: write null, or leave out the key"),
        ("pruner", {"type": "PercentilePruner"}, "search.pruner: PercentilePruner needs 'percent"),
        (
            "pruner",
            {"type": "PercentilePruner", "args": {"percentile": 150}},
            "Percentile must be between 0 and 100",
        ),
    ],
)
def test_a_wrong_sampler_or_pruner_is_reported(option: str, value: Any, line: str) -> None:
    (found,) = find_in_search(**{option: value})
    assert line in found


def test_samplers_inside_of_samplers_are_checked_as_samplers() -> None:
    inner = {"type": "TPESampler", "args": {"seed": 3, "n_startup_trials": 2}}
    fixed = {"optimizer.args.l": 0.1}
    sampler = {"type": "PartialFixedSampler", "args": {"fixed_params": fixed}}
    sampler["args"]["base_sampler"] = inner
    assert find_in_search(sampler=sampler) == [
        'search.sampler.args.fixed_params."optimizer.args.l": the space has no such key '
        "(did you mean 'optimizer.args.lr'?)",
        "search.sampler.args.base_sampler.args.seed: each trial gets a seed of its own, made of "
        "the config's seed; remove this",
    ]
    sampler["args"] |= {"fixed_params": {}, "base_sampler": {"type": "SequentialSampler"}}
    (line,) = find_in_search(sampler=sampler)
    assert line.startswith("search.sampler.args.base_sampler.type: no 'SequentialSampler' in optu")


# -- repetitions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repeat", "line"),
    [
        ({}, "repeat: needs seeds, folds, or both"),
        ({"seeds": 0}, "repeat.seeds: 0 must be at least 1"),
        ({"seeds": []}, "repeat.seeds: has no seeds"),
        ({"seeds": [1, 2, 1]}, "repeat.seeds.2: the seed 1 is given twice"),
        ({"seeds": [-1]}, "repeat.seeds.0: -1 must not be negative"),
        ({"seeds": [2**70]}, "repeat.seeds.0: is over 63 bits"),
        ({"seeds": True}, "repeat.seeds: wants int | list[int] | None, not True"),
        ({"folds": 1}, "repeat.folds: 1 must be at least 2"),
        ({"seed": 3}, "repeat.seed: repeat takes no 'seed' (did you mean 'seeds'?)"),
    ],
)
def test_a_wrong_repetition_is_reported(
    repeat: dict[str, Any], line: str, folded_loader: dict[str, Any]
) -> None:
    assert find(repeat=repeat, data_loader=folded_loader) == [line]


@pytest.fixture
def folded_loader(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A data loader that takes folds."""

    class Folded(BaseDataLoader):
        def __init__(
            self, batch_size: int = 8, validation_split: float = 0, folds: int = 0, fold: int = 0
        ) -> None:
            raise NotImplementedError

    add_project_file(monkeypatch, "data_loader.folded", Folded=Folded)
    return {"type": "folded.Folded", "args": {"batch_size": 8, "validation_split": 0.2}}


def test_a_loader_that_takes_folds_passes(folded_loader: dict[str, Any]) -> None:
    run_check(repeat={"folds": 5}, data_loader=folded_loader)


def test_a_loader_without_folds_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unfolded(BaseDataLoader):
        def __init__(self, batch_size: int = 8, validation_split: float = 0) -> None:
            raise NotImplementedError

    add_project_file(monkeypatch, "data_loader.unfolded", Unfolded=Unfolded)
    loader = {"type": "unfolded.Unfolded", "args": {"validation_split": 0.2}}
    assert find(repeat={"folds": 5}, data_loader=loader) == [
        "repeat.folds: Unfolded takes no 'folds'; let its __init__ take **kwargs, and pass them on "
        "to BaseDataLoader"
    ]


def test_folds_exclude_validation_data_and_arguments_of_folds(
    folded_loader: dict[str, Any],
) -> None:
    folded_loader["args"] = {"folds": 5, "fold": 2}
    valid = CONFIG["data_loader"] | {"args": {}}
    lines = find(repeat={"folds": 5}, data_loader=folded_loader, valid_data_loader=valid)
    assert any(line.startswith("repeat.folds: each fold is validated on a part") for line in lines)
    for key in ("data_loader.args.fold", "data_loader.args.folds"):
        assert f"{key}: repeat.folds sets this for each run; remove it" in lines
