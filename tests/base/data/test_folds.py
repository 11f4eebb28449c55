"""Folds are scikit-learn's, every sample is in one of them, and no group is divided."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from base.data.cache import cache_dataset
from base.data.folds import find_groups, split_folds, split_groups
from utils.errors import UserError

LABELS = np.repeat(["a", "b", "c"], [60, 30, 10])
GROUPS = np.arange(100) * 7 % 23


@pytest.mark.parametrize(
    ("kind", "labels", "groups"),
    [
        (KFold, None, None),
        (StratifiedKFold, LABELS, None),
        (GroupKFold, None, GROUPS),
        (StratifiedGroupKFold, LABELS, GROUPS),
    ],
)
@pytest.mark.parametrize("seed", [0, 7])
def test_the_folds_are_scikit_learns(kind: Any, labels: Any, groups: Any, seed: int) -> None:
    splitter = kind(n_splits=5, shuffle=True, random_state=seed)
    expected = list(splitter.split(np.zeros((100, 1)), labels, groups))
    found = [split_folds(100, 5, fold, seed, labels, groups) for fold in range(1, 6)]
    for (train, valid), (expected_train, expected_valid) in zip(found, expected, strict=True):
        assert train.tolist() == list(expected_train)
        assert valid.tolist() == list(expected_valid)
    assert sorted(np.concatenate([valid for _, valid in found])) == list(range(100))


@pytest.mark.parametrize("folds", [2, 3, 10])
def test_every_sample_is_in_exactly_one_fold_and_trains_in_the_others(folds: int) -> None:
    counts: Counter[int] = Counter()
    for fold in range(1, folds + 1):
        train, valid = split_folds(31, folds, fold, 3)
        assert sorted([*train, *valid]) == list(range(31))
        counts.update(valid.tolist())
    assert counts == dict.fromkeys(range(31), 1)


def test_as_many_folds_as_samples_leave_one_out() -> None:
    assert [len(split_folds(6, 6, fold)[1]) for fold in range(1, 7)] == [1] * 6


def test_folds_depend_on_the_seed_and_change_no_random_state() -> None:
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    one, again, other = (split_folds(100, 5, 2, seed)[1].tolist() for seed in (1, 1, 2))
    assert one == again != other
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert before == after


def test_a_rare_class_is_warned_of_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    labels = [0] * 50 + [1] * 47 + [2] * 3
    found = [split_folds(100, 5, fold, labels=labels)[1] for fold in range(1, 6)]
    assert sorted(np.concatenate(found)) == list(range(100))
    assert [record.getMessage() for record in caplog.records[:1]] == [
        "stratify: 1 of 3 classes have fewer samples than there are folds: 2"
    ]


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"folds": 11}, "folds", "11 folds need at least 11 samples, not 10"),
        ({"groups": [0] * 6 + [1] * 4}, "folds", "5 folds need at least 5 groups, not 2"),
        ({"labels": np.arange(10) / 7}, "stratify", "none of the 10 classes has 5 samples"),
        ({"labels": np.zeros((10, 3))}, "stratify", r"one class per sample, .* shape \(3,\)"),
    ],
)
def test_folds_that_cannot_be_made_are_refused(
    changes: dict[str, Any], key: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        split_folds(**({"n_samples": 10, "folds": 5, "fold": 1} | changes))
    assert [problem.key for problem in caught.value.problems] == [key]


# -- a split by groups ----------------------------------------------------------------------------


def test_a_validation_split_divides_no_group() -> None:
    splitter = GroupShuffleSplit(1, test_size=0.25, random_state=4)
    (expected,) = splitter.split(np.zeros(100), groups=GROUPS)
    found = split_groups(GROUPS, 0.25, 4)
    assert [part.tolist() for part in found] == [part.tolist() for part in expected]
    for labels in (None, LABELS):
        train, valid = split_groups(GROUPS, 0.2, labels=labels)
        assert not set(GROUPS[train]) & set(GROUPS[valid])
        assert sorted([*train, *valid]) == list(range(100))


@pytest.mark.parametrize(
    ("groups", "fraction", "labels"),
    [([1, 1, 1], 0.5, None), ([0, 0, 1], 0.9, None), ([0, 0, 1, 1], 0.2, [0, 1, 0, 1])],
)
def test_groups_that_cannot_be_divided_are_refused(
    groups: Any, fraction: float, labels: Any
) -> None:
    with pytest.raises(UserError, match=rf"^validation_split: {fraction}"):
        split_groups(np.asarray(groups), fraction, labels=labels)


# -- where groups are found -----------------------------------------------------------------------


class Patients(TensorDataset):
    """Six samples of three patients."""

    def __init__(self, patient: Any = ("b", "a", "b", "c", "c", "a")) -> None:
        super().__init__(torch.arange(6.0), torch.tensor([0, 1] * 3))
        self.patient = patient


class Table:
    """A dataset of HuggingFace, as far as columns go."""

    column_names = ("patient",)

    def __len__(self) -> int:
        return 3

    def with_format(self, _: Any) -> Any:
        return {"patient": [5, 4, 5]}


@pytest.mark.parametrize(
    ("dataset", "groups", "expected"),
    [
        (Patients(), "patient", [1, 0, 1, 2, 2, 0]),
        (Patients(torch.tensor([9, 9, 8, 8, 7, 7])), "patient", [2, 2, 1, 1, 0, 0]),
        (Subset(Patients(), [5, 0, 4]), "patient", [0, 1, 2]),
        (ConcatDataset([Patients(), Subset(Patients(), [3])]), "patient", [1, 0, 1, 2, 2, 0, 2]),
        (Table(), "patient", [1, 0, 1]),
        (Table(), ["x", "y", "x"], [0, 1, 0]),
        (Table(), np.array([1.5, 0.5, 1.5]), [1, 0, 1]),
    ],
)
def test_groups_are_values_an_attribute_or_a_column(
    dataset: Any, groups: Any, expected: list[int]
) -> None:
    assert find_groups(dataset, groups).tolist() == expected


def test_groups_are_found_behind_a_cache() -> None:
    assert find_groups(cache_dataset(Patients()), "patient").tolist() == [1, 0, 1, 2, 2, 0]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("patients", r"Patients has no attribute or column 'patients'.*did you mean 'patient'"),
        ([1, 2], "2 values do not fit the 6 samples"),
        ([[1, 2]] * 6, r"needs one value for each sample, not values of shape \(2,\)"),
        ([1, 2, None, 1, 2, 3], r"sample 2 has no value \(None\)"),
        ([1.0, float("nan"), 1.0, 1.0, 2.0, 3.0], r"sample 1 has no value \(nan\)"),
        (["a", float("nan"), "a", "a", "b", "c"], r"sample 1 has no value \(nan\)"),
        ([[1], [1, 2], [1], [1], [1], [1]], "needs one value for each sample, not lists"),
    ],
)
def test_wrong_groups_are_one_clear_line(groups: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^groups: {message}") as caught:
        find_groups(Patients(), groups)
    assert "\n" not in str(caught.value)


def test_an_attribute_of_the_wrong_length_is_named() -> None:
    with pytest.raises(UserError, match=r"groups: Patients.patient has 2 values for 6 samples"):
        find_groups(Patients(("a", "b")), "patient")
