"""Every rank's part of every batch, for any number of ranks, samples and batch size."""

from __future__ import annotations

import pytest

from base.data import sampler
from base.data.epoch_sampler import EpochSampler
from base.data.sampler import EpochBatchSampler, Position


@pytest.fixture
def as_rank(monkeypatch):
    """A function that makes this process a rank of several for the sampler."""

    def change(rank: int, ranks: int) -> None:
        monkeypatch.setattr(sampler, "rank", lambda: rank)
        monkeypatch.setattr(sampler, "world_size", lambda: ranks)

    return change


def list_batches(length, size, in_lockstep=True):
    """The batches of this rank, each with its loss weight."""
    batches = EpochBatchSampler(EpochSampler(range(length), True), size, False, 3)
    batches.in_lockstep, batches.start = in_lockstep, Position(2, 0)
    return [(list(batch), batches.take(batches.count - 1).loss_weight) for batch in batches]


@pytest.mark.parametrize("ranks", range(1, 6))
@pytest.mark.parametrize("size", [1, 3, 7, 16])
def test_all_ranks_have_the_batch_of_one_process(as_rank, ranks, size):
    for length in range(1, 51):
        as_rank(0, 1)
        full = [batch for batch, _ in list_batches(length, size)]
        of_ranks = []
        for rank in range(ranks):
            as_rank(rank, ranks)
            of_ranks.append(list_batches(length, size))
        assert [len(batches) for batches in of_ranks] == [len(full)] * ranks
        for batch, slices in zip(full, zip(*of_ranks, strict=True), strict=True):
            counted = [(indices, weight) for indices, weight in slices if weight]
            assert [index for indices, _ in counted for index in indices] == batch
            assert sum(weight for _, weight in slices) == pytest.approx(ranks)
            for indices, weight in counted:
                assert weight == pytest.approx(len(indices) * ranks / len(batch))
            assert all(len(indices) == 1 for indices, weight in slices if not weight)  # the fillers


@pytest.mark.parametrize("ranks", range(1, 6))
def test_without_lockstep_every_sample_is_given_once(as_rank, ranks):
    for length in range(1, 51):
        found = []
        for rank in range(ranks):
            as_rank(rank, ranks)
            found += [i for batch, _ in list_batches(length, 7, in_lockstep=False) for i in batch]
        assert sorted(found) == list(range(length))


def test_ranks_augment_with_other_random_numbers_and_the_main_one_with_those_of_one_process(
    as_rank,
):
    def list_seeds(rank, ranks):
        as_rank(rank, ranks)
        batches = EpochBatchSampler(EpochSampler(range(8), True), 4, False, 3)
        return [batch.seed for batch in batches]

    main, other = list_seeds(0, 2), list_seeds(1, 2)
    assert main == list_seeds(0, 1)
    assert not set(main) & set(other)
