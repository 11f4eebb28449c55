"""Splits by time: which samples train and validate, and the gap between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import TimeSeriesSplit
from torch.utils.data import Dataset, Subset, TensorDataset

from base import BaseDataLoader
from base.data.time_split import count_shared_steps, find_overlap, split_by_time
from config.check.folds import find_split_problems
from data_loader.series import WindowDataset
from tests.base.data.datasets import numbers
from utils.errors import UserError

TIME: dict[str, Any] = {"validation_split_by": "time"}


def list_indices_of_both(loader: BaseDataLoader) -> tuple[list[int], list[int]]:
    sampler: Any = loader.sampler
    return list(sampler.indices), list(loader.valid_sampler.indices)


def test_the_last_samples_validate_and_the_gap_is_in_neither_part() -> None:
    train, valid = split_by_time(20, 0.25, gap=3)
    assert (train.tolist(), valid.tolist()) == (list(range(12)), list(range(15, 20)))
    assert split_by_time(20, 4)[1].tolist() == [16, 17, 18, 19]


@pytest.mark.parametrize("gap", [0, 2])
def test_folds_are_scikit_learns_and_never_train_on_the_future(gap: int) -> None:
    expected = list(TimeSeriesSplit(3, gap=gap).split(np.zeros(22)))
    for fold, (train, valid) in enumerate(expected, 1):
        found = split_by_time(22, 0, folds=3, fold=fold, gap=gap)
        assert np.array_equal(found[0], train)
        assert np.array_equal(found[1], valid)


def test_windows_bring_their_gap_and_a_subset_keeps_its_order() -> None:
    windows = WindowDataset(np.arange(60.0), history=4, horizon=3)
    train, valid = list_indices_of_both(BaseDataLoader(windows, 4, validation_split=0.2, **TIME))
    last_target = train[-1] + 4 + 3 - 1
    assert last_target + 1 == valid[0] + 4  # the first step that validates
    part = Subset(windows, range(10, 40))
    train, valid = list_indices_of_both(BaseDataLoader(part, 4, validation_split=5, **TIME))
    assert (train, valid) == (list(range(23)), list(range(25, 30)))


def test_a_warning_names_the_gap_if_targets_overlap(caplog: pytest.LogCaptureFixture) -> None:
    series = torch.rand(40)
    targets = series.unfold(0, 4, 1)
    dataset = TensorDataset(torch.zeros(len(targets), 1), targets)
    assert find_overlap(dataset, 3) == 3
    assert find_overlap(numbers(10), 3) == 0
    labels = [torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])] * 4
    assert count_shared_steps(labels) == 0
    assert count_shared_steps([torch.rand(5, 2) for _ in range(4)]) == 0
    assert count_shared_steps(list(torch.arange(20.0).unfold(0, 5, 2))) == 2
    BaseDataLoader(dataset, 4, validation_split=0.2, **TIME)
    assert "set validation_gap: 3" in caplog.text
    BaseDataLoader(WindowDataset(series, 4, 3), 4, validation_split=0.2)
    assert "divided at random" in caplog.text
    caplog.clear()
    BaseDataLoader(dataset, 4, validation_split=0.2, validation_gap=3, **TIME)
    assert "validation_gap" not in caplog.text


class Windows(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Windows of a user, which do not say how they overlap, and count how often they are read."""

    def __init__(self, n_steps: int = 60) -> None:
        self.series, self.count = torch.rand(n_steps), 0

    def __len__(self) -> int:
        return len(self.series) - 8

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.count += 1
        return self.series[index : index + 4], self.series[index + 4 : index + 8]


def test_a_random_split_of_windows_without_an_overlap_gets_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    windows = Windows()
    BaseDataLoader(windows, 4, validation_split=0.2)
    assert caplog.text.count("divided at random") == 1
    assert windows.count == 0


def test_a_random_split_without_overlap_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    apart = Subset(Windows(), range(0, 50, 4))
    labels = TensorDataset(torch.rand(40, 2), torch.eye(4).repeat(10, 1))
    several: Any = TensorDataset(torch.rand(40, 2), torch.rand(40, 3))
    for dataset in (apart, labels, several, numbers(40)):
        BaseDataLoader(dataset, 4, validation_split=0.2)
    groups = [index // 20 for index in range(52)]
    BaseDataLoader(Windows(), 4, validation_split=0.4, groups=groups)
    BaseDataLoader(Windows(), 4)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_split": 5, "validation_gap": 5}, "^validation_gap: 5 leaves none of 10"),
        ({"folds": 5, "fold": 1, "validation_gap": 5}, "^folds: 5 folds in the order of time"),
        ({"validation_split": 5, "stratify": True}, "^stratify: does not fit"),
        ({"validation_split": 5, "groups": [1]}, "^groups: does not fit"),
        ({"validation_split": 5, "split_seed": 3}, "^split_seed: does not fit"),
        ({"validation_split": 5, "validation_gap": -1}, "^validation_gap: -1 must be"),
    ],
)
def test_options_that_do_not_fit_a_split_by_time_are_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        BaseDataLoader(numbers(10), 2, **options, **TIME)


def test_a_gap_without_time_is_an_error() -> None:
    (problem,) = find_split_problems({"validation_split": 0.2, "validation_gap": 3})
    assert problem.key == "validation_gap"
