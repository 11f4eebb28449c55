"""Datasets are told the epoch, and workers see what the training process changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    StackDataset,
    Subset,
)

from base import BaseDataLoader
from base.data.fingerprint import fingerprint
from base.data.loader import set_position
from base.data.worker_copies import WorkerCopies
from base.data.worker_processes import stop_workers
from utils.util import inf_loop


class Level(Dataset[Any]):
    """Gives its level, which the training process or ``set_epoch`` changes."""

    default = 0

    def __init__(self) -> None:
        self.level: Any = 0

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        return self.level + self.default


class EpochLevel(Level):
    def set_epoch(self, epoch: int) -> None:
        self.level = epoch


class EpochStream(IterableDataset[Any]):
    level = 0

    def set_epoch(self, epoch: int) -> None:
        self.level = epoch

    def __iter__(self) -> Iterator[int]:
        return iter([self.level] * 4)


class Wrapper(Level):
    """A wrapper under a name that no library uses."""

    def __init__(self, **inner: Any) -> None:
        self.__dict__ |= inner

    def __getitem__(self, index: int) -> Any:
        (inner,) = vars(self).values()
        return inner[index]


WRAPPED = {
    "itself": EpochLevel,
    "Subset": lambda: Subset(EpochLevel(), range(8)),
    "ConcatDataset": lambda: ConcatDataset([EpochLevel(), EpochLevel()]),
    "StackDataset": lambda: StackDataset(a=EpochLevel()),
    "of a user": lambda: Wrapper(anything=Subset(EpochLevel(), range(8))),
    "stream": EpochStream,
    "ChainDataset": lambda: ChainDataset([EpochStream()]),
}


def list_levels(loader: Any) -> set[int]:
    values = [batch["a"] if isinstance(batch, dict) else batch for batch in loader]
    return {int(value) for value in torch.cat(values)}


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_dataset_gets_the_epoch(name: str, num_workers: int) -> None:
    loader = BaseDataLoader(WRAPPED[name](), 2, num_workers=num_workers)
    found = []
    for epoch in (3, 4):
        loader.set_epoch(epoch)
        found.append(list_levels(loader))
    assert found == [{3}, {4}]


class Epochs(Sampler[int]):
    def __init__(self) -> None:
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return 8

    def __iter__(self) -> Iterator[int]:
        return iter(range(8))

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


def test_a_sampler_gets_the_epoch_also_inside_a_batch_sampler() -> None:
    for nested in (False, True):
        sampler = Epochs()
        batching = {"batch_sampler": BatchSampler(sampler, 3, False)}
        loader = BaseDataLoader(Level(), 4, **(batching if nested else {"sampler": sampler}))
        loader.set_epoch(5)
        list(loader), list(loader)
        assert sampler.epochs == [5, 6]


def test_a_loader_of_torch_passes_on_the_epoch() -> None:
    sampler, dataset = Epochs(), EpochLevel()
    set_position(DataLoader(Subset(dataset, range(8)), sampler=sampler), 7)
    assert (sampler.epochs, dataset.level) == ([7], 7)


def test_persistent_workers_of_a_loader_of_torch_get_the_epoch() -> None:
    for dataset in (EpochLevel(), EpochStream()):
        loader: Any = DataLoader(dataset, 2, num_workers=1, persistent_workers=True)
        found = []
        for epoch in (3, 4):
            set_position(loader, epoch)
            found.append(list_levels(loader))
        stop_workers(loader)
        assert found == [{3}, {4}]


# -- changes of the training process --------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_changed_dataset_is_seen_with_any_number_of_workers(num_workers: int) -> None:
    dataset = Level()
    loader = BaseDataLoader(Subset(dataset, range(8)), 2, num_workers=num_workers)
    found = []
    for level in (1, 2, torch.tensor(3)):
        dataset.level = level
        found.append(list_levels(loader))
    dataset.level.add_(4)
    found.append(list_levels(loader))
    try:
        Level.default = 10
        found.append(list_levels(loader))
    finally:
        Level.default = 0
    assert found == [{1}, {2}, {3}, {7}, {17}]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_change_is_seen_in_the_next_epoch_of_an_endless_loop(num_workers: int) -> None:
    dataset = Level()
    loader = inf_loop(BaseDataLoader(dataset, 2, num_workers=num_workers))
    found = []
    for epoch in range(3):
        set_position(loader, epoch)
        dataset.level = epoch
        found.append([int(next(loader)[0]) for _ in range(3)])
    assert found == [[0] * 3, [1] * 3, [2] * 3]


def test_workers_live_on_while_the_dataset_stays() -> None:
    class Process(Level):
        def __getitem__(self, index: int) -> int:
            import os

            return os.getpid()

    dataset = Process()
    loader = BaseDataLoader(dataset, 2, num_workers=1)
    first, second = list_levels(loader), list_levels(loader)
    dataset.level = 2
    assert first == second != list_levels(loader)


def test_a_fingerprint_covers_everything_that_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    class Many:
        pass

    many: Any = Many()
    many.itself, many.numbers, many.table = many, [1, {"a": {2}}], torch.zeros(3)
    many.large, many.call = torch.zeros(5_000_000), lambda: many.numbers
    seen = [fingerprint(many)]
    assert seen[0] == fingerprint(many)
    for change in (
        lambda: many.numbers[1]["a"].add(3),
        lambda: many.table.numpy().fill(1),
        lambda: many.large.add_(1),
        lambda: setattr(many, "call", (lambda k: lambda: k)(2)),
        lambda: setattr(many, "new", None),
    ):
        change()
        seen.append(fingerprint(many))
    assert len(set(seen)) == 6
    monkeypatch.setattr("base.data.fingerprint.MAX_BYTES", 1000)
    many.numbers = list(range(1000))
    assert fingerprint(many) is None  # too much to compare


@pytest.mark.parametrize("is_contiguous", [True, False])
def test_a_single_change_in_a_large_array_is_seen_without_a_copy(is_contiguous: bool) -> None:
    large = np.zeros((4, 6_000_001), np.uint8)
    large = large if is_contiguous else large.T
    for changing in (large, torch.from_numpy(large)):
        seen = set()
        for value, index in enumerate([(0, 0), (1, 3), (-1, -1)]):
            large[index] = value + 1  # no version of a tensor counts this
            seen.add(fingerprint([changing]))
        assert len(seen) == 3
        large[:] = 0


def test_a_dataset_with_too_many_objects_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("base.data.fingerprint.MAX_OBJECTS", 100)
    many = [Level() for _ in range(200)]
    copies = WorkerCopies()
    assert copies.differ(many)
    monkeypatch.setattr("base.data.worker_copies.fingerprint", None)  # a call would fail
    assert copies.differ(many)
