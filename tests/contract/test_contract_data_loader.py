"""BaseDataLoader works as pytorch-template's projects use it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)

from base import BaseDataLoader


def make_dataset(n: int = 10) -> TensorDataset:
    return TensorDataset(torch.arange(float(n)).unsqueeze(1), torch.arange(n))


def draw_targets(loader: Any) -> list[int]:
    return [int(value) for _, target in loader for value in target]


@pytest.mark.parametrize(
    ("n", "split", "size"), [(103, 0.1, 10), (103, 0.25, 25), (50, 7, 7), (1000, 0.2, 200)]
)
def test_the_split_is_numpys_shuffle_with_seed_0(n: int, split: float | int, size: int) -> None:
    original = np.random.get_state()
    np.random.seed(0)
    order = np.arange(n)
    np.random.shuffle(order)
    np.random.seed(1234)
    before = np.random.get_state(legacy=False)

    loader = BaseDataLoader(make_dataset(n), 8, True, split, 0)
    valid = loader.split_validation()

    after = np.random.get_state(legacy=False)
    np.random.set_state(original)
    assert np.array_equal(before["state"]["key"], after["state"]["key"]), (
        "the global generator is unchanged"
    )
    assert before["state"]["pos"] == after["state"]["pos"]
    assert valid is not None
    assert sorted(draw_targets(valid)) == sorted(order[:size])
    assert sorted(draw_targets(loader)) == sorted(order[size:])
    assert valid.sampler.indices.tolist() == order[:size].tolist()
    assert loader.sampler.indices.tolist() == order[size:].tolist()
    assert loader.n_samples == n - size
    assert len(loader.sampler) == n - size
    assert len(valid.sampler) == size


@pytest.mark.parametrize("split", [0.0, 0])
def test_without_a_split_there_is_no_validation_loader(split: float | int) -> None:
    assert BaseDataLoader(make_dataset(), 4, True, split, 0).split_validation() is None


def test_attributes_of_a_loader() -> None:
    dataset = make_dataset()
    loader = BaseDataLoader(dataset, 4, True, 0.2, 0)
    assert isinstance(loader, DataLoader)
    assert loader.batch_size == 4
    assert loader.n_samples == 8
    assert loader.dataset is dataset
    assert len(loader) == 2
    assert len(loader.sampler) == 8
    assert loader.validation_split == 0.2
    valid = loader.split_validation()
    assert valid is not None
    assert (valid.batch_size, valid.dataset, len(valid)) == (4, dataset, 1)
    loader.n_samples = 3
    assert loader.n_samples == 3


def test_valid_sampler_and_init_kwargs_make_a_loader() -> None:
    """Projects override ``split_validation`` in this way."""
    loader = BaseDataLoader(make_dataset(), 4, True, 3, 0)
    assert set(loader.init_kwargs) >= {
        "dataset",
        "batch_size",
        "shuffle",
        "collate_fn",
        "num_workers",
    }
    valid: Any = DataLoader(sampler=loader.valid_sampler, **loader.init_kwargs)
    assert loader.valid_sampler is not None
    assert sorted(draw_targets(valid)) == sorted(loader.valid_sampler.indices)
    loader.valid_sampler = None


def test_a_subclass_in_the_templates_style() -> None:
    """It sets ``self.dataset`` before it calls its parent, and forwards ``**kwargs``."""

    class Loader(BaseDataLoader):
        def __init__(
            self,
            data_dir: str,
            batch_size: int,
            shuffle: bool = True,
            validation_split: float = 0.0,
            num_workers: int = 1,
            training: bool = True,
            **kwargs: Any,
        ) -> None:
            self.data_dir = data_dir
            self.dataset = make_dataset(12 if training else 5)
            super().__init__(
                self.dataset, batch_size, shuffle, validation_split, num_workers, **kwargs
            )

    loader = Loader("data/", 5, num_workers=0, drop_last=True, pin_memory=False, timeout=0)
    assert (len(loader), loader.drop_last, loader.pin_memory) == (2, True, False)
    assert len(draw_targets(loader)) == 10
    assert sorted(
        draw_targets(Loader("data/", 5, shuffle=False, num_workers=0, training=False))
    ) == list(range(5))


def test_shuffling_gives_each_epoch_another_order() -> None:
    loader = BaseDataLoader(make_dataset(), 4, True, 0.0, 0)
    first, second = draw_targets(loader), draw_targets(loader)
    assert first != second
    assert sorted(first) == sorted(second) == list(range(10))
    assert draw_targets(BaseDataLoader(make_dataset(), 4, False, 0.0, 0)) == list(range(10))


def test_collate_fn_is_accepted_by_position() -> None:
    def get_targets(samples: list[Any]) -> list[int]:
        return [int(target) for _, target in samples]

    loader = BaseDataLoader(make_dataset(5), 2, False, 0.0, 0, get_targets)
    assert list(loader) == [[0, 1], [2, 3], [4]]


def test_a_sampler_is_accepted_by_keyword() -> None:
    # 60 samples: with 6, all would be equal once in 32 runs.
    sampler = WeightedRandomSampler([0.0, 1.0, 1.0, 0.0], num_samples=60)
    loader = BaseDataLoader(make_dataset(4), 3, False, 0.0, 0, sampler=sampler)
    assert set(draw_targets(loader)) == {1, 2}
    assert (loader.sampler, len(loader), loader.n_samples) == (sampler, 20, 60)


class Shifted(Dataset[tuple[float, int]]):
    """Each worker sets an attribute of its copy, as datasets do with a file handle."""

    shift = 0

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[float, int]:
        return float(index), index + self.shift


def shift_in_worker(worker_id: int) -> None:
    info = get_worker_info()
    assert info is not None
    assert len(info.dataset) == 4
    info.dataset.shift = 10 * (worker_id + 1)


def test_worker_init_fn_reaches_the_dataset() -> None:
    """``get_worker_info().dataset`` is the dataset, as torch documents it."""
    loader = BaseDataLoader(
        Shifted(), 2, False, 0.0, 2, worker_init_fn=shift_in_worker, persistent_workers=False
    )
    assert draw_targets(loader) == [10, 11, 22, 23]
