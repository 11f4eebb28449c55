"""Arguments of a data loader that do not go together are errors of one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from torchvision.transforms import v2

from base import BaseDataLoader
from base.data.batch_transforms import FlipEach
from base.data.checks import check_batching, warn_if_random
from base.data.epoch_sampler import EpochSampler
from tests.base.data.datasets import Stream, numbers
from utils.errors import UserError


@pytest.mark.parametrize(
    ("dataset", "kwargs", "message"),
    [
        (numbers(), {"batch_size": 0}, "batch_size=0 must be at least 1"),
        (numbers(), {"batch_size": -3}, "batch_size=-3 must be at least 1"),
        (numbers(0), {}, "the dataset TensorDataset is empty"),
        ([], {}, "the dataset list is empty"),
        (
            numbers(),
            {"batch_size": 11, "drop_last": True},
            "batch_size=11 with drop_last leaves no batch of 10 samples",
        ),
        (
            numbers(),
            {"batch_size": 9, "drop_last": True, "validation_split": 2},
            "batch_size=9 with drop_last leaves no batch of 8 samples",
        ),
        (
            numbers(),
            {"validation_split": 10},
            "validation_split=10 of 10 samples leaves one part empty",
        ),
        (
            numbers(),
            {"validation_split": 0.01},
            "validation_split=0.01 of 10 samples leaves one part empty",
        ),
        (
            numbers(),
            {"validation_split": 2, "sampler": EpochSampler(range(3), False)},
            "validation_split or folds and a sampler cannot both choose the samples",
        ),
        (
            numbers(),
            {"validation_split": 2, "batch_size": None, "batch_sampler": [[1]]},
            "validation_split or folds and a sampler cannot both choose the samples",
        ),
        (
            Stream(5),
            {"validation_split": 2},
            "an iterable dataset cannot be split; give a valid_data_loader",
        ),
        (
            list(range(5)),
            {"validation_split": 2, "stratify": True},
            "stratify: list has no `targets` or `labels`",
        ),
        (Stream(5), {"cache": True}, "an iterable dataset supports neither cache"),
        (
            Stream(5),
            {"batch_transform": nn.Identity()},
            "an iterable dataset supports neither cache nor batch_transform",
        ),
    ],
)
def test_a_mistake_is_an_error_of_one_line(
    dataset: Any, kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        BaseDataLoader(dataset, **({"batch_size": 4} | kwargs))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("transform", "is_random"),
    [
        (v2.RandomHorizontalFlip(), True),
        (v2.Compose([v2.ToImage(), v2.ColorJitter(0.5)]), True),
        (v2.TrivialAugmentWide(), True),
        (v2.Compose([FlipEach()]), True),
        (v2.Compose([v2.ToImage(), v2.Resize(4)]), False),
        (None, False),
    ],
)
def test_augmented_validation_samples_are_a_warning(
    caplog: pytest.LogCaptureFixture, transform: Any, is_random: bool
) -> None:
    warn_if_random("eval_transform", transform)
    expected = "augmented like the training part: give an eval_transform."
    assert (expected in caplog.text) is is_random
    assert len(caplog.records) == int(is_random)


def test_the_warning_names_the_argument_that_would_help(caplog: pytest.LogCaptureFixture) -> None:
    data = TensorDataset(torch.rand(8, 1, 4, 4), torch.arange(8))
    BaseDataLoader(data, 4, validation_split=2, batch_transform=FlipEach()).split_validation()
    assert [record.getMessage().split()[-1] for record in caplog.records] == [
        "eval_batch_transform."
    ]


def test_a_table_or_a_dict_of_datasets_is_no_dataset() -> None:
    class Frame:
        iloc = ()

    with pytest.raises(UserError, match="a Frame of pandas is no dataset; give its rows"):
        check_batching(Frame(), 4, needs_indices=False, split=0)
    with pytest.raises(UserError, match="a dict is no dataset; give one of its items: train, test"):
        check_batching({"train": [1], "test": [2]}, 4, needs_indices=False, split=0)
