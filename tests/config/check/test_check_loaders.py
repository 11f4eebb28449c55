"""Arguments of loaders that do not fit are found before a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from base.schema import SCHEMA
from config import ConfigParser
from config.check.folds import find_split_problems
from config.check.loaders import REFUSED, check_loaders
from tests.base.data.streams import Plain
from tests.helpers import small_config
from utils.errors import UserError


def test_arguments_that_need_indices_are_refused_beside_a_stream() -> None:
    args = {"dataset": {"type": "x"}, "shuffle": True, "cache": True, "validation_split": 0}
    found: list[Any] = []
    checker: Any = SimpleNamespace(
        resolved={("data_loader", "args", "dataset"): Plain, ("arch",): dict},
        tree=SimpleNamespace(data={"data_loader": {"args": args}}),
        fail=lambda keys, message: found.append((keys, message)),
    )
    check_loaders(checker)
    assert found == [
        (("data_loader", "args", name), f"Plain is a stream, which {REFUSED[name]}")
        for name in ("shuffle", "cache")
    ]


def test_shuffle_beside_a_batch_sampler_has_no_effect() -> None:
    sampler = {"type": "BucketBatchSampler", "args": {"batch_size": 8, "lengths": "x"}}
    dataset = {"type": "FakeData"}
    args = {"dataset": dataset, "batch_sampler": sampler, "shuffle": True}
    config = small_config(Path("unused")) | {"data_loader": {"type": "DatasetLoader", "args": args}}
    with pytest.raises(UserError, match=r"args\.shuffle: has no effect"):
        ConfigParser(config, run_id="unused").check(SCHEMA)


@pytest.mark.parametrize(
    ("args", "problems"),
    [
        ({"folds": 5}, ["folds: needs fold, the one to validate on, from 1 to 5"]),
        ({"fold": 2}, ["fold: needs folds, the number of folds"]),
        ({"folds": 1, "fold": 1}, ["folds: 1 must be at least 2"]),
        ({"folds": 5, "fold": 0}, ["fold: 0 must be from 1 to 5"]),
        ({"folds": 5, "fold": 6}, ["fold: 6 must be from 1 to 5"]),
        (
            {"folds": 5, "fold": 6, "validation_split": 0.2, "split_seed": -1},
            [
                "validation_split: remove it",
                "fold: 6 must be from 1 to 5",
                "split_seed: -1 must be from 0 to 4294967295",
            ],
        ),
        ({"groups": "x", "validation_split": 30}, ["validation_split: 30 must be a fraction"]),
        ({"groups": "x", "validation_split": 1.5}, ["validation_split: 1.5 must be between"]),
        (
            {"groups": "x", "validation_split": 0.6, "stratify": True},
            ["validation_split: 0.6 must be at most 0.5 with stratify and groups"],
        ),
        ({"folds": 5, "fold": 1, "validation_split": 0, "groups": "x", "stratify": True}, []),
        ({"folds": "${n}", "fold": 3}, []),
    ],
)
def test_arguments_that_divide_the_dataset_fit_each_other(
    args: dict[str, Any], problems: list[str]
) -> None:
    found = list(map(str, find_split_problems(args)))
    assert [text[: len(start)] for text, start in zip(found, problems, strict=True)] == problems


def check(**changes: Any) -> None:
    """Checks a config whose training loader takes any dataset."""
    args = {"dataset": {"type": "FakeData"}, "folds": 5, "fold": 1, **changes.pop("args", {})}
    config = small_config(Path("unused")) | {"data_loader": {"type": "DatasetLoader", "args": args}}
    ConfigParser(config | changes, run_id="unused").check(SCHEMA)


def test_folds_need_to_be_the_only_choice_of_the_samples() -> None:
    check()
    with pytest.raises(UserError) as caught:
        check(
            args={"fold": 6, "sampler": {"type": "RandomSampler"}},
            valid_data_loader={"type": "DigitsDataLoader"},
        )
    lines = sorted(
        line.partition("data_loader.args.")[2] for line in str(caught.value).splitlines()
    )
    assert lines == [
        "fold: 6 must be from 1 to 5",
        "folds: the fold is the validation part, and there is a valid_data_loader; remove that "
        "(~valid_data_loader)",
        "sampler: cannot choose the samples beside folds; remove it",
    ]


def test_a_loader_that_is_not_the_frameworks_may_have_a_fold_of_another_meaning() -> None:
    found: list[Any] = []
    checker: Any = SimpleNamespace(
        resolved={("data_loader",): Plain},
        tree=SimpleNamespace(data={"data_loader": {"args": {"fold": 9}}}),
        fail=lambda *problem: found.append(problem),
    )
    check_loaders(checker)
    assert found == []


@pytest.mark.parametrize(
    "changes",
    [
        {"data_loader": {"type": "DigitsDataLoader", "args": {"folds": 5, "fold": 2}}},
        {"data_loader": {"type": "DigitsDataLoader"}, "repeat": {"folds": 5}},
    ],
)
def test_a_fold_gives_the_numbers_of_a_validation(changes: dict[str, Any]) -> None:
    config = small_config(Path("unused"), monitor="min val_loss") | changes
    ConfigParser(config, run_id="unused").check(SCHEMA)
