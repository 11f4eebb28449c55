"""BaseDataLoader's validation split: which samples are in it, and under which transform."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset
from torchvision.datasets import FakeData

from base import BaseDataLoader
from tests.base.data.datasets import list_indices, numbers
from utils.errors import UserError


def split(dataset: Any, *args: Any, **kwargs: Any) -> BaseDataLoader:
    """The validation loader of a loader with these arguments."""
    loader = BaseDataLoader(dataset, *args, **kwargs).split_validation()
    assert loader is not None
    return loader


def test_the_split_is_pytorch_templates() -> None:
    loader = BaseDataLoader(numbers(20), 20, validation_split=0.25)
    expected = np.arange(20)
    np.random.RandomState(0).shuffle(expected)
    valid = loader.split_validation()
    assert valid is not None
    assert list(itertools.chain(*list_indices(valid))) == expected[:5].tolist()
    assert sorted(itertools.chain(*list_indices(loader))) == sorted(expected[5:].tolist())
    assert (loader.n_samples, valid.n_samples) == (15, 5)


def test_no_split_gives_no_loader() -> None:
    assert BaseDataLoader(numbers(), 4).split_validation() is None
    assert BaseDataLoader(numbers(), 4).valid_sampler is None


def test_the_validation_samples_are_all_there_in_the_same_order_every_time() -> None:
    valid = split(numbers(), 4, validation_split=5, drop_last=True)
    assert [len(batch) for batch in list_indices(valid)] == [4, 1]
    assert list_indices(valid) == list_indices(valid)


def test_the_split_depends_on_split_seed_only() -> None:
    found = []
    for torch_seed, split_seed in ((1, 0), (2, 0), (1, 3)):
        torch.manual_seed(torch_seed)
        valid = split(numbers(20), 4, validation_split=5, split_seed=split_seed)
        found.append(list_indices(valid))
    assert found[0] == found[1] != found[2]


def test_a_split_is_stratified_on_request() -> None:
    dataset = TensorDataset(torch.arange(40), torch.arange(40) % 4)
    (batch,) = split(dataset, 8, validation_split=8, stratify=True)
    assert torch.bincount(batch[1]).tolist() == [2, 2, 2, 2]


def test_only_the_validation_loader_is_for_evaluation() -> None:
    loader = BaseDataLoader(numbers(), 4, validation_split=3)
    valid = loader.split_validation()
    assert valid is not None
    assert (loader.is_for_evaluation, valid.is_for_evaluation) == (False, True)


# -- transforms -----------------------------------------------------------------------------------


class Images(FakeData):
    """Like torchvision's datasets: a PIL image under `transform`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(size=8, image_size=(1, 4, 4), num_classes=2, **kwargs)


def to_ones(_: Any) -> torch.Tensor:
    return torch.ones(1)


def to_zeros(_: Any) -> torch.Tensor:
    return torch.zeros(1)


def images_of(loader: BaseDataLoader) -> list[float]:
    return [value.item() for batch in loader for value in batch]


@pytest.mark.parametrize("transform", [to_ones, None], ids=["with", "without a training transform"])
def test_validation_gets_the_evaluation_transform(transform: Any) -> None:
    def collate(samples: list[Any]) -> list[Any]:
        return [value for value, _ in samples]

    dataset = Images(transform=transform)
    loader = BaseDataLoader(dataset, 4, True, 4, collate_fn=collate, eval_transform=to_zeros)
    valid = loader.split_validation()
    assert valid is not None
    assert images_of(valid) == [0.0] * 4
    if transform is not None:
        assert images_of(loader) == [1.0] * 4
    assert dataset.transform is transform


def test_without_an_evaluation_transform_both_loaders_have_the_same_dataset() -> None:
    dataset = Images(transform=to_ones)
    assert split(dataset, 4, validation_split=4).dataset is dataset


def test_an_evaluation_transform_for_a_dataset_without_transforms_is_a_mistake() -> None:
    loader = BaseDataLoader(numbers(), 4, validation_split=2, eval_transform=to_zeros)
    with pytest.raises(
        UserError, match="eval_transform: TensorDataset has no `transform` attribute to replace"
    ):
        loader.split_validation()


def test_an_empty_batch_transform_turns_that_of_training_off_for_validation() -> None:
    def double(batch: list[torch.Tensor]) -> list[torch.Tensor]:
        return [2 * value for value in batch]

    dataset = TensorDataset(torch.ones(8))
    valid = split(
        dataset,
        4,
        validation_split=4,
        batch_transform=double,
        eval_batch_transform=torch.nn.Sequential(),
    )
    assert images_of_tensors(valid) == [1.0] * 4


def images_of_tensors(loader: BaseDataLoader) -> list[float]:
    return [value for (values,) in loader for value in values.tolist()]
