"""The order of the samples is a function of seed and epoch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from base.data.epoch_sampler import EpochSampler
from base.data.sampler import EpochBatchSampler, Position


def list_order(sampler: EpochSampler, epoch: int, seed: int = 1) -> list[int]:
    """The order in an epoch of a run."""
    batches = EpochBatchSampler(sampler, 7, drop_last=False, seed=seed)
    batches.start = Position(epoch, 0)
    return list(itertools.chain(*batches))


def test_without_shuffling_the_order_is_that_of_the_indices() -> None:
    assert list_order(EpochSampler(np.array([4, 2, 7]), False), 3) == [4, 2, 7]
    assert list(EpochSampler(range(2, 8, 3), False)) == [2, 5]


def test_a_shuffled_order_holds_every_sample_once() -> None:
    found = list_order(EpochSampler(range(50), True), 0)
    assert found != list(range(50))
    assert sorted(found) == list(range(50))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    one, other = EpochSampler(range(50), True), EpochSampler(range(50), True)
    assert list_order(one, 3) == list_order(other, 3)
    orders = {
        tuple(list_order(EpochSampler(range(50), True), epoch, seed))
        for seed in range(5)
        for epoch in range(5)
    }
    assert len(orders) == 25


def test_the_order_depends_neither_on_earlier_orders_nor_on_the_global_numbers() -> None:
    sampler = EpochSampler(range(50), True)
    expected = list_order(EpochSampler(range(50), True), 2)
    list_order(sampler, 0), list_order(sampler, 1)
    torch.rand(5)
    assert list_order(sampler, 2) == expected


def test_weighted_samples_are_drawn_in_proportion() -> None:
    sampler = EpochSampler(np.arange(10, 14), False, weights=np.array([0.0, 1.0, 0.0, 3.0]))
    assert len(sampler) == 4
    drawn = [index for epoch in range(500) for index in list_order(sampler, epoch)]
    assert set(drawn) == {11, 13}
    assert drawn.count(13) / len(drawn) == pytest.approx(0.75, abs=0.04)
