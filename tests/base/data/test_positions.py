"""The position in a pass is kept in samples, and a sampler decides when a pass ends."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, IterableDataset, SequentialSampler, get_worker_info

from base import BaseDataLoader
from tests.base.data.datasets import list_indices, numbers
from tests.base.data.samplers import Buckets
from tests.ranks import in_ranks


def list_samples(loader: Any, count: int | None = None) -> list[int]:
    """The samples of the next ``count`` batches, or of all of a pass."""
    batches = itertools.islice(loader, count)
    values = [batch if isinstance(batch, torch.Tensor) else batch[0] for batch in batches]
    return torch.cat(values).tolist() if values else []


# -- the length of a sampler is an estimate -------------------------------------------------------


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("length", [6, 14, None, 0, 10])
def test_a_pass_has_all_batches_of_its_sampler(length: int | None, num_workers: int) -> None:
    loader = BaseDataLoader(numbers(40), 4, batch_sampler=Buckets(length), num_workers=num_workers)
    assert sorted(list_samples(loader)) == list(range(40))
    taken = list_samples(loader, 8)
    resumed = BaseDataLoader(numbers(40), 4, batch_sampler=Buckets(length))
    resumed.load_state_dict(loader.state_dict())
    assert sorted(taken + list_samples(resumed)) == list(range(40))
    assert sorted(list_samples(resumed)) == list(range(40))


class Estimated(SequentialSampler):
    def __len__(self) -> int:
        return 25


def test_a_sampler_of_indices_may_estimate_too(caplog: pytest.LogCaptureFixture) -> None:
    loader = BaseDataLoader(numbers(40), 4, sampler=Estimated(range(40)))
    assert [list_samples(loader), list_samples(loader)] == [list(range(40))] * 2
    assert caplog.messages == [
        "Estimated has the length 7, but gave 10 batches. All were used; progress and schedules "
        "expect 7."
    ]


class EstimatedStream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[int]:
        return iter(range(40))

    def __len__(self) -> int:
        return 25


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stream_of_another_length_is_named_once(
    num_workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Also if each worker reads all of the stream."""
    loader = BaseDataLoader(EstimatedStream(), 4, shuffle=False, num_workers=num_workers)
    assert [len(list_samples(loader)) for _ in range(2)] == [40] * 2
    assert caplog.messages[num_workers // 2 :] == [
        "EstimatedStream has the length 25, but gave 40 samples. All were used; progress and "
        "schedules expect 25."
    ]


def test_a_sampler_may_estimate_that_it_gives_nothing() -> None:
    class Empty(SequentialSampler):
        def __len__(self) -> int:
            return 0

    loader = BaseDataLoader(numbers(40), 4, sampler=Empty(range(40)))
    assert list_samples(loader) == list(range(40))


def test_the_batches_left_are_those_that_come() -> None:
    loader = BaseDataLoader(numbers(40), 4, batch_sampler=Buckets(6))
    assert [loader.batches_left for _ in loader] == list(range(9, -1, -1))


# -- another size of batches ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 4, 7, 40, 50])
@pytest.mark.parametrize("done", [1, 5, 9, 10])
def test_a_pass_goes_on_with_batches_of_another_size(size: int, done: int) -> None:
    loader = BaseDataLoader(numbers(40), 4)
    taken = list_samples(loader, done)
    resumed = BaseDataLoader(numbers(40), size)
    resumed.load_state_dict(loader.state_dict())
    if done < 10:
        assert resumed.state_dict()["samples"] == len(taken)
        assert 0 < resumed.state_dict()["consumed"] <= len(resumed)
        taken += list_samples(resumed, 1)
        if resumed.batches_left:
            resumed = resume(resumed.state_dict(), size)
            other = list_samples(resume(resumed.state_dict(), 4))
            rest = list_samples(resumed)
            assert other == rest
            taken += rest
    assert sorted(taken) == list(range(40))
    assert sorted(list_samples(resumed)) == list(range(40))


def resume(state: dict[str, Any], size: int) -> BaseDataLoader:
    loader = BaseDataLoader(numbers(40), size)
    loader.load_state_dict(state)
    return loader


def test_drop_last_leaves_out_only_the_samples_that_make_no_batch() -> None:
    loader = BaseDataLoader(numbers(40), 4)
    taken = list_samples(loader, 3)
    resumed = BaseDataLoader(numbers(40), 9, drop_last=True)
    resumed.load_state_dict(loader.state_dict())
    taken += list_samples(resumed)
    assert len(set(taken)) == len(taken) == 12 + 27


def test_a_batch_sampler_of_another_size_goes_on_after_the_same_sample() -> None:
    loader = BaseDataLoader(numbers(40), 4, batch_sampler=Buckets(10))
    taken = list_samples(loader, 3)
    resumed = BaseDataLoader(numbers(40), 4, batch_sampler=Buckets(6, size=7))
    resumed.load_state_dict(loader.state_dict())
    batches = list_indices(resumed)
    assert [len(batch) for batch in batches] == [2, 7, 7, 7, 5]
    assert sorted(taken + list(itertools.chain(*batches))) == list(range(40))


def test_a_batch_sampler_goes_on_where_a_batch_size_has_stopped() -> None:
    loader = BaseDataLoader(numbers(40), 4, shuffle=False)
    taken = list_samples(loader, 3)
    sampler = BatchSampler(SequentialSampler(range(40)), 5, drop_last=False)
    resumed = BaseDataLoader(numbers(40), 4, batch_sampler=sampler)
    resumed.load_state_dict(loader.state_dict())
    assert taken + list_samples(resumed) == list(range(40))


class Shards(IterableDataset[Any]):
    """Each worker reads its own shard."""

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(first, 40, step))


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_a_stream_goes_on_with_batches_of_another_size(num_workers: int) -> None:
    loader = BaseDataLoader(Shards(), 4, num_workers=num_workers)
    taken = list_samples(loader, 3)
    resumed = BaseDataLoader(Shards(), 5, num_workers=num_workers)
    resumed.load_state_dict(loader.state_dict())
    assert sorted(taken + list_samples(resumed)) == list(range(40))
    assert sorted(list_samples(resumed)) == list(range(40))


def test_other_workers_of_a_stream_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    loader = BaseDataLoader(Shards(), 4, num_workers=2)
    list_samples(loader, 3)
    BaseDataLoader(Shards(), 4).load_state_dict(loader.state_dict())
    assert "2 workers read the iterable dataset before, and 0 do now" in caplog.text


def test_a_state_in_batches_only_can_still_be_loaded() -> None:
    loader = BaseDataLoader(numbers(40), 4)
    expected = list_indices(loader)
    loader.load_state_dict({"seed": loader.seed, "passes": 1, "consumed": 7})
    assert list_indices(loader) == expected[7:]
    sampler = BatchSampler(SequentialSampler(range(40)), 5, drop_last=False)
    loader = BaseDataLoader(numbers(40), 4, batch_sampler=sampler)
    loader.load_state_dict({"seed": loader.seed, "passes": 1, "consumed": 6})
    assert list_samples(loader, 1) == [30, 31, 32, 33, 34]
    assert loader.state_dict()["samples"] == 35


# -- items that are batches -----------------------------------------------------------------------


class Chunks(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([(torch.arange(3), [1, 2, 3]), (torch.arange(2), [4, 5])])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_dataset_may_give_batches(num_workers: int) -> None:
    loader = BaseDataLoader(Chunks(), None, num_workers=num_workers)
    assert [[batch[0].tolist(), batch[1]] for batch in loader] == [
        [[0, 1, 2], [1, 2, 3]],
        [[0, 1], [4, 5]],
    ]
    items = [(torch.arange(3), 1), (torch.arange(2), 2), (torch.arange(1), 3)]
    loader = BaseDataLoader(items, None, shuffle=False, num_workers=num_workers)
    assert [(batch[0].tolist(), batch[1]) for batch in loader] == [
        ([0, 1, 2], 1), ([0, 1], 2), ([0], 3)
    ]  # fmt: skip
    assert (len(loader), loader.batch_size) == (3, None)


def list_items() -> list[Any]:
    loader = BaseDataLoader([torch.tensor([n]) for n in range(5)], None, shuffle=False)
    return [len(loader), [batch.item() for batch in loader]]


def test_each_rank_gets_other_items() -> None:
    (length, first), (_, second) = in_ranks(2, list_items)
    assert length == 3
    assert [first[:2], second] == [[0, 2], [1, 3, 4]]
