"""Several processes read a stream: each sample once, with uneven ends, and after a resume."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset

from base import BaseDataLoader
from base.loop.validation import iterate_in_lockstep
from tests.base.data.streams import ByWorker, ItemBatches, Plain, Sharded, Stateful, Uneven
from tests.ranks import in_ranks
from utils.distributed import broadcast, rank, world_size

STREAMS: dict[str, Callable[[], IterableDataset[Any]]] = {
    "not divided": Plain,
    "not divided, shuffled": lambda: Plain(shuffled=True),
    "divided among workers": ByWorker,
    "shard": Sharded,
    "uneven shards": Uneven,
    "an empty shard": lambda: Sharded(1),
    "stateful": lambda: Stateful(203),
}


def list_batches(stream: str, num_workers: int, evaluates: bool) -> list[Any]:
    """What this rank gets: the samples of each batch, its weight, and its size."""
    torch.manual_seed(1)
    loader = BaseDataLoader(STREAMS[stream](), 4, num_workers=num_workers)
    if evaluates:
        loader.for_evaluation()
    batches = iterate_in_lockstep(loader) if evaluates else loader
    return [
        (None if batch is None else batch[0].tolist(), loader.loss_weight, loader.n_in_batch)
        for batch in batches
    ]


@pytest.mark.parametrize("num_workers", [0, 2, 4])
@pytest.mark.parametrize("stream", STREAMS)
def test_each_sample_is_trained_on_once(stream: str, num_workers: int) -> None:
    ranks = in_ranks(2, list_batches, stream, num_workers, False)
    n_samples = STREAMS[stream]().n  # type: ignore[attr-defined]
    seen = [number for batches in ranks for samples, _, n in batches for number in samples[:n]]
    assert sorted(seen) == list(range(n_samples))
    assert len(ranks[0]) == len(ranks[1])
    for batches in zip(*ranks, strict=True):
        sizes = [size for _, _, size in batches]
        assert [weight for _, weight, _ in batches] == [2 * size / sum(sizes) for size in sizes]
        assert all(samples for samples, _, _ in batches)  # a filler is a batch of another rank


@pytest.mark.parametrize("stream", STREAMS)
def test_an_evaluation_sees_each_sample_once_and_in_lockstep(stream: str) -> None:
    ranks = in_ranks(2, list_batches, stream, 2, True)
    n_samples = STREAMS[stream]().n  # type: ignore[attr-defined]
    seen = [number for batches in ranks for samples, _, _ in batches for number in samples or []]
    assert sorted(seen) == list(range(n_samples))
    assert len(ranks[0]) == len(ranks[1])


def list_evaluation() -> list[list[int]]:
    """What this rank gets without lockstep, as in test.py."""
    loader = BaseDataLoader(Uneven(), 4).for_evaluation()
    return [batch[0].tolist() for batch in loader]


def test_a_test_without_lockstep_gets_no_fillers() -> None:
    first, second = in_ranks(2, list_evaluation)
    assert list(itertools.chain(*first, *second)) == list(range(40))


def list_items(num_workers: int) -> list[Any]:
    loader = BaseDataLoader(ItemBatches(5), None, num_workers=num_workers)
    return [(batch.tolist(), loader.loss_weight) for batch in loader]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_rank_gets_other_items_of_a_stream_of_batches(num_workers: int) -> None:
    first, second = in_ranks(2, list_items, num_workers)
    assert first == [([0, 0], 1.0), ([2, 2], 1.0), ([4, 4], 0.0)]
    assert second == [([1, 1], 1.0), ([3, 3], 1.0), ([4, 4], 2.0)]


def continue_twice(stream: str, num_workers: int) -> list[Any]:
    """A pass in three parts, and one in one piece, of this rank."""

    def make() -> BaseDataLoader:
        torch.manual_seed(1)
        return BaseDataLoader(STREAMS[stream](), 4, num_workers=num_workers)

    loader = make()
    list(loader)
    expected = [[part.tolist() for part in batch] for batch in loader]
    loader = make()
    list(loader)
    taken = list(itertools.islice(loader, 3))
    for count in (4, None):
        state = broadcast(loader.state_dict())  # as a resume does with a checkpoint
        loader = make()
        loader.load_state_dict(state)
        taken += list(itertools.islice(loader, count))
    return [expected, [[part.tolist() for part in batch] for batch in taken]]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stream", ["not divided, shuffled", "uneven shards", "stateful"])
def test_ranks_continue_twice(stream: str, num_workers: int) -> None:
    for expected, taken in in_ranks(2, continue_twice, stream, num_workers):
        assert taken == expected


class ByRank(Plain):
    """Divides itself among the ranks, as a dataset that asks torch.distributed."""

    def __iter__(self) -> Any:
        for number in range(rank(), self.n, world_size()):
            yield number, 0


def read_by_rank(sharding: Any) -> Any:
    loader = BaseDataLoader(ByRank(), 4, stream_sharding=sharding)
    try:
        return [batch[0].tolist() for batch in loader]
    except Exception as error:
        return str(error)


def test_a_stream_that_divides_itself_must_say_so() -> None:
    for message in in_ranks(2, read_by_rank, None):
        assert message.startswith("data_loader: the processes read different samples of ByRank")
    ranks = in_ranks(2, read_by_rank, "dataset")
    assert sorted(itertools.chain(*ranks[0], *ranks[1])) == list(range(40))


class DeepImages(Sharded):
    """Images of 16 bits."""

    def __iter__(self) -> Any:
        for number in self.numbers:
            yield torch.tensor(number, dtype=torch.uint16)


def read_deep_images() -> Any:
    loader = BaseDataLoader(DeepImages(1), 4)
    return [(batch.tolist(), loader.loss_weight) for batch in loader]


def test_a_filler_may_have_any_dtype() -> None:
    assert in_ranks(2, read_deep_images) == [[([0], 2.0)], [([0], 0.0)]]
