"""BaseDataLoader's folds: which samples train and validate, alone and with other options."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import StratifiedKFold
from torch.utils.data import RandomSampler, TensorDataset

from base import BaseDataLoader, DatasetLoader
from base.data.split import split_indices
from base.loaders import make_test_loader
from base.schema import SCHEMA
from config import ConfigParser
from data_loader.breast_cancer import BreastCancerDataLoader
from data_loader.data_loaders import DigitsDataLoader
from data_loader.photos import PhotoDataLoader
from tests.base.data.datasets import Stream, list_indices, numbers
from tests.helpers import small_config
from utils.errors import UserError


def split(loader: BaseDataLoader) -> BaseDataLoader:
    """The validation loader of a loader."""
    valid = loader.split_validation()
    assert valid is not None
    return valid


def test_the_fold_is_for_validation_and_the_rest_trains() -> None:
    everything = []
    for fold in (1, 2, 3):
        loader = DatasetLoader(numbers(20), 4, folds=3, fold=fold, num_workers=0)
        trained = sorted(itertools.chain(*list_indices(loader)))
        valid = list(itertools.chain(*list_indices(split(loader))))
        assert sorted(trained + valid) == list(range(20))
        assert loader.n_samples == len(trained)
        everything += valid
    assert sorted(everything) == list(range(20))


@pytest.mark.parametrize(
    ("kind", "classes"),
    [
        (DigitsDataLoader, load_digits().target),
        (BreastCancerDataLoader, load_breast_cancer().target),
    ],
)
def test_shipped_data_has_scikit_learns_stratified_folds(kind: Any, classes: Any) -> None:
    training, _ = split_indices(len(classes), 0.2, labels=classes)
    splitter = StratifiedKFold(5, shuffle=True, random_state=3)
    expected = list(splitter.split(training, classes[training]))
    for fold, (train, valid) in enumerate(expected, 1):
        loader = kind(32, folds=5, fold=fold, split_seed=3)
        assert np.array_equal(loader.sampler.indices, train)
        assert np.array_equal(loader.valid_sampler.indices, valid)


def test_folds_hold_neither_torchs_seed_nor_the_batch_size() -> None:
    found = []
    for seed, batch_size in ((1, 4), (2, 7)):
        torch.manual_seed(seed)
        valid = split(BaseDataLoader(numbers(20), batch_size, folds=4, fold=2))
        found.append(sorted(itertools.chain(*list_indices(valid))))
    assert found[0] == found[1]


def test_groups_stay_in_one_part_and_a_cache_and_balance_do_not_matter() -> None:
    groups = [index // 4 for index in range(40)]
    dataset = TensorDataset(torch.arange(40), torch.arange(40) % 4 // 3)
    options: dict[str, Any] = {"groups": groups, "folds": 5, "fold": 4, "stratify": True}
    plain = BaseDataLoader(dataset, 8, **options)
    valid = {groups[index] for index in plain.valid_sampler.indices}
    sampler: Any = plain.sampler
    assert not valid & {groups[index] for index in sampler.indices}
    balanced = BaseDataLoader(dataset, 8, cache=True, sampler="class_balanced", **options)
    assert np.array_equal(balanced.valid_sampler.indices, plain.valid_sampler.indices)
    drawn = torch.cat([batch[0] for batch in balanced]).tolist()
    assert not valid & {groups[index] for index in drawn}


def test_each_item_of_a_dataset_that_gives_batches_is_in_one_fold() -> None:
    dataset = [torch.full((3,), index) for index in range(6)]
    valid = split(BaseDataLoader(dataset, None, folds=3, fold=1, shuffle=False))
    assert len(list(valid)) == 2


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (numbers(), {"fold": 1}, "^fold: needs folds"),
        (numbers(), {"folds": 3}, "^folds: needs fold"),
        (numbers(), {"folds": 3, "fold": 4}, "^fold: 4 must be from 1 to 3"),
        (numbers(), {"folds": 11, "fold": 4}, "^folds: 11 folds need at least 11 samples"),
        (numbers(), {"folds": 3, "fold": 1, "validation_split": 2}, "^validation_split: remove"),
        (numbers(), {"folds": 3, "fold": 1, "groups": [1]}, "^groups: 1 values do not fit"),
        (Stream(7), {"folds": 3, "fold": 1}, "an iterable dataset cannot be split"),
        (
            numbers(),
            {"folds": 3, "fold": 1, "sampler": RandomSampler(range(10))},
            "folds and a sampler cannot both choose",
        ),
    ],
)
def test_arguments_that_do_not_fit_folds_are_refused(
    dataset: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        BaseDataLoader(dataset, 2, **options)


def test_photographs_are_divided_and_those_of_the_fold_are_not_augmented(tmp_path: Path) -> None:
    from PIL import Image

    for folder, count in (("train", 4), ("val", 1)):
        for kind in ("ants", "bees"):
            (tmp_path / folder / kind).mkdir(parents=True)
            for number in range(count):
                image = Image.new("RGB", (9, 8), (number, 0, 0))
                image.save(tmp_path / folder / kind / f"{number}.png")
    loader = PhotoDataLoader(str(tmp_path), num_workers=0, size=8, folds=2, fold=1)
    valid = split(loader)
    assert (loader.n_samples, valid.n_samples) == (4, 4)
    assert "Random" not in repr(valid.dataset.transform)  # type: ignore[attr-defined]
    assert torch.bincount(next(iter(valid))[1]).tolist() == [2, 2]
    assert split(PhotoDataLoader(str(tmp_path), num_workers=0, size=8)).n_samples == 2


def test_a_test_uses_all_test_data_or_else_the_fold(tmp_path: Path) -> None:
    args: dict[str, Any] = {"batch_size": 128, "folds": 5, "fold": 2}
    section = {"type": "DigitsDataLoader", "args": args}
    config = ConfigParser(small_config(tmp_path) | {"data_loader": section})
    config.check(SCHEMA)
    assert make_test_loader(config)[0].n_samples == 359
    fake = {"type": "FakeData", "args": {"size": 9, "image_size": [1, 8, 8]}}
    section = {"type": "DatasetLoader", "args": {**args, "dataset": fake}}
    config = ConfigParser(small_config(tmp_path) | {"data_loader": section})
    config.check(SCHEMA)
    loader, text, _ = make_test_loader(config)
    assert (loader.n_samples, text) == (2, "fold 2 of 5 (there is no test data)")
