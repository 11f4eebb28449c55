"""State in places that are easy to miss: helpers of samplers, long lists, batch transforms."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Sampler

from base import BaseDataLoader
from tests.base.data.datasets import are_equal, batches, numbers

LONG = 20_000  # samples


class Turn:
    count = 0


class Turning(Sampler[int]):
    """A counter in a helper chooses the first sample."""

    def __init__(self) -> None:
        self.turn = Turn()

    def __len__(self) -> int:
        return 10

    def __iter__(self) -> Iterator[int]:
        self.turn.count += 1
        return iter([(index + self.turn.count) % 10 for index in range(10)])


class InPlace(Sampler[int]):
    """Shuffles its indices in place."""

    def __init__(self, indices: Any) -> None:
        self.indices, self.rng = indices, np.random.default_rng(1)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        self.rng.shuffle(self.indices)
        return iter(self.indices)


class Range(Dataset[int]):
    def __len__(self) -> int:
        return LONG

    def __getitem__(self, index: int) -> int:
        return index


@pytest.mark.parametrize(
    "make",
    [
        lambda: BaseDataLoader(numbers(), 4, sampler=Turning()),
        lambda: BaseDataLoader(Range(), 5000, sampler=InPlace(list(range(LONG)))),
        lambda: BaseDataLoader(Range(), 5000, sampler=InPlace(np.arange(LONG))),
    ],
    ids=["a helper", "a long list", "a long array"],
)
@pytest.mark.parametrize("done", [0, 1])
def test_what_a_sampler_changes_is_restored(make: Callable[[], BaseDataLoader], done: int) -> None:
    loader = make()
    batches(loader)
    rest = iter(loader)
    for _ in range(done):
        next(rest)
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    expected = list(rest) if done else batches(loader)
    assert are_equal(batches(resumed), expected)
    assert are_equal(batches(resumed), batches(loader))


class Shard(Dataset[int]):
    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return self.epoch


@pytest.mark.parametrize("num_workers", [0, 1])
def test_each_of_many_datasets_knows_the_epoch(num_workers: int) -> None:
    data = ConcatDataset([Shard() for _ in range(150)])
    loader = BaseDataLoader(data, 150, num_workers=num_workers)
    loader.set_epoch(3)
    assert next(iter(loader)).tolist() == [3] * 150


class Scaling:
    """A batch transform with a generator of its own, which knows the epoch."""

    def __init__(self, rng: Any) -> None:
        self.rng, self.epoch = rng, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, batch: Any) -> Any:
        is_torchs = isinstance(self.rng, torch.Generator)
        draw = torch.rand((), generator=self.rng).item() if is_torchs else self.rng.random()
        return [batch[0] * draw, torch.tensor(self.epoch)]


@pytest.mark.parametrize(
    "make_rng",
    [
        lambda: torch.Generator().manual_seed(1),
        lambda: np.random.default_rng(1),
        lambda: random.Random(1),
    ],
)
def test_a_batch_transform_resumes_and_knows_the_epoch(make_rng: Callable[[], Any]) -> None:
    def make() -> BaseDataLoader:
        torch.manual_seed(1)
        return BaseDataLoader(numbers(), 4, batch_transform=Scaling(make_rng()))

    loader = make()
    expected = [list(loader), list(loader)]
    loader = make()
    next(iter(loader))
    resumed = make()
    resumed.load_state_dict(loader.state_dict())
    assert are_equal(list(resumed), expected[0][1:])
    assert are_equal(list(resumed), expected[1])
    assert [batch[1] for batch in expected[1]] == [1, 1, 1]
