"""The samples of every batch are a function of seed and epoch, from any batch on."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, RandomSampler, Sampler, WeightedRandomSampler

from base.data.epoch_sampler import EpochSampler
from base.data.map_reader import list_full_epoch
from base.data.sampler import BatchIndices, EpochBatchSampler, Position
from tests.base.data.datasets import get_global_random_state


def list_batches(
    sampler: Any, size: int | None, epoch: int = 0, start: int = 0, seed: int = 5
) -> list[list[int]]:
    batches = EpochBatchSampler(sampler, size, drop_last=False, seed=seed)
    batches.start = Position(epoch, start)
    return [list(batch) for batch in batches]


# -- batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [3, 3, 3, 1]), (True, [3, 3, 3])])
def test_drop_last_leaves_out_the_short_batch(drop_last: bool, sizes: list[int]) -> None:
    batches = EpochBatchSampler(EpochSampler(range(10), False), 3, drop_last, seed=0)
    assert len(batches) == len(sizes)
    assert [len(batch) for batch in batches] == sizes


def test_starting_later_gives_the_rest_of_the_same_batches() -> None:
    full_epoch = list_batches(EpochSampler(range(10), True), 3, epoch=2)
    rest = list_batches(EpochSampler(range(10), True), 3, epoch=2, start=2)
    assert rest == full_epoch[2:]
    assert list_batches(EpochSampler(range(10), True), 3, epoch=2, start=4) == []


def test_list_full_epoch_gives_all_batches_and_leaves_the_start() -> None:
    batches = EpochBatchSampler(EpochSampler(range(10), True), 3, False, seed=5)
    batches.start = Position(2, 3)
    assert list_full_epoch(batches) == list_batches(EpochSampler(range(10), True), 3, epoch=2)
    assert [list(batch) for batch in batches] == list_full_epoch(batches)[3:]


def test_every_batch_has_a_seed_that_depends_on_its_position() -> None:
    batches = EpochBatchSampler(EpochSampler(range(10), False), 3, False, seed=5)
    seeds = set()
    for epoch in range(3):
        batches.start = Position(epoch, 0)
        seeds |= {batch.seed for batch in batches}
    assert len(seeds) == 12
    batches.start = Position(2, 3)
    assert next(iter(batches)).seed in seeds


def test_indices_keep_their_seed_on_the_way_to_a_worker() -> None:
    copied = pickle.loads(pickle.dumps(BatchIndices([3, 1], 2**62 + 1)))
    assert (copied, copied.seed) == ([3, 1], 2**62 + 1)


def test_a_batch_sampler_gives_the_batches_as_they_are() -> None:
    sampler = BatchSampler(EpochSampler(range(7), False), 3, False)
    assert list_batches(sampler, None) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list_batches(sampler, None, start=1) == [[3, 4, 5], [6]]


# -- samplers of torch's and of a project's -------------------------------------------------------


class Shuffling(Sampler[int]):
    """A project's sampler, which draws from the global generators."""

    def __len__(self) -> int:
        return 20

    def __iter__(self) -> Iterator[int]:
        drawn = [random.randrange(20) for _ in range(10)]
        return iter(drawn + np.random.permutation(20).tolist()[:10])


SAMPLERS: dict[str, Callable[[], Sampler[int]]] = {
    "weighted": lambda: WeightedRandomSampler([1.0] * 20, 20),
    "weighted with a generator": lambda: WeightedRandomSampler(
        [1.0] * 20, 20, generator=torch.Generator()
    ),
    "random": lambda: RandomSampler(range(20)),
    "of a project": Shuffling,
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_foreign_sampler_repeats_an_epoch_and_differs_in_the_next(name: str) -> None:
    make = SAMPLERS[name]
    first = list_batches(make(), 4, epoch=1)
    torch.rand(3), random.random(), np.random.rand()
    assert list_batches(make(), 4, epoch=1) == first
    assert list_batches(make(), 4, epoch=2) != first
    assert list_batches(make(), 4, epoch=1, seed=6) != first
    assert list_batches(make(), 4, epoch=1, start=3) == first[3:]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_foreign_sampler_leaves_the_global_random_numbers(name: str) -> None:
    before = get_global_random_state()
    list_batches(SAMPLERS[name](), 4)
    assert get_global_random_state() == before
