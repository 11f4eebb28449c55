"""BaseDataLoader gives the same batches with any number of workers, and from any batch on."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from base import BaseDataLoader
from tests.base.data.datasets import (
    Noisy,
    Stream,
    get_global_random_state,
    list_indices,
    list_values,
    numbers,
)
from utils.util import inf_loop


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    state = torch.get_rng_state()
    torch.manual_seed(1)
    yield
    torch.set_rng_state(state)


# -- the order ------------------------------------------------------------------------------------


def test_the_batches_are_a_function_of_seed_and_epoch() -> None:
    one, other = BaseDataLoader(numbers(), 3), BaseDataLoader(numbers(), 3)
    passes = [list_indices(one) for _ in range(3)]
    assert passes[0] != passes[1] != passes[2]
    other.set_epoch(2)
    torch.rand(10)
    assert list_indices(other) == passes[2]


def test_the_seed_is_torchs_when_the_loader_is_made() -> None:
    first = list_indices(BaseDataLoader(numbers(), 3))
    torch.rand(7)  # drawing numbers changes nothing
    assert list_indices(BaseDataLoader(numbers(), 3)) == first
    torch.manual_seed(2)
    assert list_indices(BaseDataLoader(numbers(), 3)) != first


def test_without_shuffling_every_pass_is_in_order() -> None:
    loader = BaseDataLoader(numbers(5), 2, shuffle=False)
    assert list_indices(loader) == list_indices(loader) == [[0, 1], [2, 3], [4]]


def test_set_epoch_starts_that_epoch_from_its_first_batch() -> None:
    loader = BaseDataLoader(numbers(), 3)
    next(iter(loader))
    loader.set_epoch(0)
    full_pass = list_indices(loader)
    assert sorted(itertools.chain(*full_pass)) == list(range(10))
    loader.set_epoch(0)
    assert list_indices(loader) == full_pass


def test_set_epoch_may_start_in_the_middle() -> None:
    loader = BaseDataLoader(numbers(), 3)
    full_pass = list_indices(loader)
    loader.set_epoch(0, 2)
    assert list_indices(loader) == full_pass[2:]


def test_the_indices_of_a_pass_can_be_listed_without_reading() -> None:
    loader = BaseDataLoader(numbers(), 3)
    for _ in range(2):
        expected = list_indices(loader)
        assert loader.list_batches() == expected
    loader.set_epoch(0, 2)
    assert loader.list_batches() == expected  # the pass has not begun
    assert BaseDataLoader(Stream(4), 2).list_batches() == []


# -- random numbers -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_passes() -> dict[int, list[Any]]:
    """Two passes, by the number of workers."""
    found = {}
    for num_workers in (0, 2):
        torch.manual_seed(1)
        loader = BaseDataLoader(Noisy(), 4, num_workers=num_workers)
        found[num_workers] = [list_values(loader), list_values(loader)]
    return found


def test_workers_change_no_bit_of_any_batch(two_passes: dict[int, list[Any]]) -> None:
    assert two_passes[0] == two_passes[2]


def test_augmentation_differs_between_samples_batches_and_epochs(
    two_passes: dict[int, list[Any]],
) -> None:
    for column in (1, 2, 3):  # the random numbers of Python, NumPy, torch
        drawn = [
            str(value) for epoch in two_passes[2] for batch in epoch for value in batch[column]
        ]
        assert len(set(drawn)) == 44


@pytest.mark.parametrize("num_workers", [0, 1])
def test_iterating_leaves_the_global_random_numbers(num_workers: int) -> None:
    loader = BaseDataLoader(Noisy(), 4, num_workers=num_workers)
    before = get_global_random_state()
    list_values(loader)
    assert get_global_random_state() == before


def test_random_numbers_that_the_loop_draws_do_not_change_the_batches() -> None:
    quiet = list_values(BaseDataLoader(Noisy(), 4))
    loud = []
    for batch in BaseDataLoader(Noisy(), 4):
        random.random(), np.random.rand(), torch.rand(5)
        loud += list_values([batch])
    assert loud == quiet


def test_a_batch_can_be_read_by_its_indices() -> None:
    loader = BaseDataLoader(Noisy(), 4)
    first, second, other = (loader.read_batch([3, 7], seed) for seed in (5, 5, 6))
    assert list_values([first]) == list_values([second]) != list_values([other])
    assert first[0].tolist() == [3, 7]


# -- continuing in the middle ---------------------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("done", [0, 2, 5])
def test_a_loader_continues_where_another_stopped(num_workers: int, done: int) -> None:
    loader = BaseDataLoader(Noisy(), 4, num_workers=num_workers)
    list_values(loader)
    second_pass, third_pass = list_values(loader), list_values(loader)

    stopped = BaseDataLoader(Noisy(), 4, num_workers=num_workers)
    list_values(stopped)
    batches = iter(stopped)
    for _ in range(done):
        next(batches)
    state = stopped.state_dict()

    torch.manual_seed(99)  # the state decides, not the seed of the new process
    resumed = BaseDataLoader(Noisy(), 4)
    resumed.load_state_dict(state)
    assert list_values(resumed) == second_pass[done:]
    assert list_values(resumed) == third_pass


def test_a_state_counts_the_batches_that_the_loop_took_and_not_those_fetched_ahead() -> None:
    loader = BaseDataLoader(numbers(), 1, num_workers=1, prefetch_factor=4)
    batches = iter(loader)
    next(batches), next(batches)
    position = {"seed": 1, "passes": 1, "consumed": 2, "samples": 2, "batch_size": 1, "left": 8}
    assert loader.state_dict() == position


def test_a_state_holds_plain_integers_only() -> None:
    loader = BaseDataLoader(numbers(), 3)
    list_indices(loader)
    assert {type(value) for value in loader.state_dict().values()} == {int}


def test_the_state_of_an_unused_loader_begins_at_the_first_batch() -> None:
    state = BaseDataLoader(numbers(), 3).state_dict()
    expected = list_indices(BaseDataLoader(numbers(), 3))
    torch.manual_seed(2)
    other = BaseDataLoader(numbers(), 3)
    other.load_state_dict(state)
    assert list_indices(other) == expected


def test_continuing_reads_none_of_the_samples_before() -> None:
    read: list[int] = []

    class Watched(Noisy):
        def __getitem__(self, index: int) -> Any:
            read.append(index)
            return index

    loader = BaseDataLoader(Watched(), 2, shuffle=False)
    loader.load_state_dict({"seed": 1, "passes": 1, "consumed": 9})
    list(loader)
    assert read == [18, 19, 20, 21]


def test_an_endless_loop_over_a_loader_continues_too() -> None:
    endless = inf_loop(BaseDataLoader(numbers(), 4))
    expected = [next(endless)[0].tolist() for _ in range(10)]

    loader = BaseDataLoader(numbers(), 4)
    first = inf_loop(loader)
    taken = [next(first)[0].tolist() for _ in range(6)]  # two rounds of three; the second has ended
    resumed = BaseDataLoader(numbers(), 4)
    resumed.load_state_dict(loader.state_dict())
    rest = inf_loop(resumed)
    assert taken + [next(rest)[0].tolist() for _ in range(4)] == expected


def test_a_stream_continues_by_skipping() -> None:
    loader = BaseDataLoader(Stream(10), 3)
    loader.load_state_dict({"seed": 1, "passes": 1, "consumed": 2})
    assert [batch.tolist() for batch in loader] == [[6, 7, 8], [9]]
    assert next(iter(loader)).tolist() == [0, 1, 2]
