"""Which samples make which batch, and how a dataset is divided."""

from __future__ import annotations

import pickle
import random
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    RandomSampler,
    Sampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from base import BaseDataLoader
from base.data import sampler as base_sampler
from base.data.sampler import (
    EpochBatches,
    EpochSampler,
    Indices,
    SeededDataset,
    labels_of,
    split_indices,
)
from utils.errors import UserError


def batches(
    sampler: Any, size: int | None, epoch: int = 0, start: int = 0, seed: int = 5
) -> list[list[int]]:
    found = EpochBatches(sampler, size, drop_last=False, seed=seed)
    found.epoch, found.start = epoch, start
    return [list(batch) for batch in found]


def order(sampler: EpochSampler, epoch: int, seed: int = 1) -> list[int]:
    return [index for batch in batches(sampler, 7, epoch, seed=seed) for index in batch]


def global_state() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]


# -- the order of the samples ---------------------------------------------------------------------------------------


def test_without_shuffling_the_order_is_that_of_the_indices() -> None:
    assert order(EpochSampler(np.array([4, 2, 7]), False), 3) == [4, 2, 7]


def test_a_shuffled_order_holds_every_sample_once() -> None:
    found = order(EpochSampler(range(50), True), 0)
    assert found != list(range(50))
    assert sorted(found) == list(range(50))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    assert order(EpochSampler(range(50), True), 3) == order(EpochSampler(range(50), True), 3)
    orders = {
        tuple(order(EpochSampler(range(50), True), epoch, seed))
        for seed in range(5)
        for epoch in range(5)
    }
    assert len(orders) == 25


def test_the_order_does_not_depend_on_the_orders_before_it_nor_on_the_global_numbers() -> None:
    sampler = EpochSampler(range(50), True)
    late = order(EpochSampler(range(50), True), 2)
    order(sampler, 0), order(sampler, 1)
    torch.rand(5)
    assert order(sampler, 2) == late


# -- batches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [3, 3, 3, 1]), (True, [3, 3, 3])])
def test_drop_last_takes_the_short_batch_away(drop_last: bool, sizes: list[int]) -> None:
    found = EpochBatches(EpochSampler(range(10), False), 3, drop_last, seed=0)
    assert len(found) == len(sizes)
    assert [len(batch) for batch in found] == sizes


def test_starting_later_gives_the_rest_of_the_same_batches() -> None:
    whole = batches(EpochSampler(range(10), True), 3, epoch=2)
    assert batches(EpochSampler(range(10), True), 3, epoch=2, start=2) == whole[2:]
    assert batches(EpochSampler(range(10), True), 3, epoch=2, start=4) == []


def test_every_batch_has_a_seed_of_its_own_that_depends_on_its_place_and_epoch() -> None:
    found = EpochBatches(EpochSampler(range(10), False), 3, False, seed=5)
    seeds = set()
    for epoch in range(3):
        found.epoch = epoch
        seeds |= {batch.seed for batch in found}
    assert len(seeds) == 12
    found.epoch, found.start = 2, 3
    assert next(iter(found)).seed in seeds


def test_indices_keep_their_seed_on_the_way_to_a_worker() -> None:
    copied = pickle.loads(pickle.dumps(Indices([3, 1], 2**62 + 1)))
    assert (copied, copied.seed) == ([3, 1], 2**62 + 1)


class Shuffling(Sampler[int]):
    """A project's own sampler, which draws from the global generators."""

    def __len__(self) -> int:
        return 20

    def __iter__(self) -> Iterator[int]:
        return iter(
            [random.randrange(20) for _ in range(10)] + np.random.permutation(20).tolist()[:10]
        )


SAMPLERS = {
    "weighted": lambda: WeightedRandomSampler([1.0] * 20, 20),
    "weighted with a generator": lambda: WeightedRandomSampler(
        [1.0] * 20, 20, generator=torch.Generator()
    ),
    "random": lambda: RandomSampler(range(20)),
    "own": Shuffling,
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_foreign_sampler_gives_the_same_in_the_same_epoch_and_another_in_the_next(
    name: str,
) -> None:
    make = SAMPLERS[name]
    first = batches(make(), 4, epoch=1)
    torch.rand(3), random.random(), np.random.rand()
    assert batches(make(), 4, epoch=1) == first
    assert batches(make(), 4, epoch=2) != first
    assert batches(make(), 4, epoch=1, seed=6) != first
    assert batches(make(), 4, epoch=1, start=3) == first[3:]


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_foreign_sampler_leaves_the_global_random_numbers(name: str) -> None:
    before = global_state()
    batches(SAMPLERS[name](), 4)
    assert global_state() == before


def test_a_sampler_with_epochs_of_its_own_is_told_them() -> None:
    class Own(Shuffling):
        told: int

        def set_epoch(self, epoch: int) -> None:
            self.told = epoch

    sampler = Own()
    batches(sampler, 4, epoch=7)
    assert sampler.told == 7


def test_a_batch_sampler_gives_the_batches_whole() -> None:
    sampler = BatchSampler(EpochSampler(range(7), False), 3, False)
    assert batches(sampler, None) == [[0, 1, 2], [3, 4, 5], [6]]
    assert batches(sampler, None, start=1) == [[3, 4, 5], [6]]


# -- fetching -------------------------------------------------------------------------------------------------------


class Noisy:
    """Augments with all three kinds of random numbers."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[float, ...]:
        return index, random.random(), float(np.random.rand()), float(torch.rand(()))


def test_a_batch_is_fetched_under_its_own_random_numbers() -> None:
    dataset = SeededDataset(Noisy(), list)
    first = dataset.__getitems__(Indices([1, 2], 5))
    random.random(), np.random.rand(), torch.rand(3)
    assert dataset.__getitems__(Indices([1, 2], 5)) == first
    other = dataset.__getitems__(Indices([1, 2], 6))
    assert all(a != b for a, b in zip(first[0][1:], other[0][1:], strict=True))
    assert first[0][1:] != first[1][1:]


def test_fetching_leaves_the_global_random_numbers() -> None:
    before = global_state()
    SeededDataset(Noisy(), list).__getitems__(Indices([1], 5))
    assert global_state() == before


def test_a_dataset_that_fetches_batches_is_asked_for_batches() -> None:
    class Whole:
        def __getitems__(self, indices: list[int]) -> list[int]:
            return [10 * index for index in indices]

    assert SeededDataset(Whole(), list).__getitems__(Indices([1, 2], 0)) == [10, 20]


# -- the split ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "n_valid"), [(30, 30), (0.3, 30), (0.299, 29), (1, 1), (99, 99)])
def test_a_split_is_a_count_or_a_fraction(split: float, n_valid: int) -> None:
    train, valid = split_indices(100, split)
    assert len(valid) == n_valid
    assert sorted([*train, *valid]) == list(range(100))


def test_the_default_split_is_pytorch_templates() -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[index]
    train, valid = split_indices(100, 0.25)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]
    state = np.random.get_state()
    np.random.seed(0)
    expected = np.arange(100)
    np.random.shuffle(expected)
    np.random.set_state(state)
    assert valid.tolist() == expected[:25].tolist()
    assert train.tolist() == expected[25:].tolist()


def test_another_seed_is_another_split() -> None:
    assert split_indices(100, 30, seed=1)[1].tolist() != split_indices(100, 30, seed=0)[1].tolist()
    assert split_indices(100, 30, seed=1)[1].tolist() == split_indices(100, 30, seed=1)[1].tolist()


@pytest.mark.parametrize("split", [0, 100, 101, -1, 1.0, 1.5, 0.001, -0.5, True, float("nan")])
def test_a_split_that_leaves_a_part_empty_is_refused(split: float) -> None:
    with pytest.raises(UserError, match=r"validation_split=.* of 100 samples") as caught:
        split_indices(100, split)
    assert "\n" not in str(caught.value)


def test_a_stratified_split_holds_every_class_in_proportion() -> None:
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    train, valid = split_indices(100, 0.2, labels=labels)
    assert Counter(labels[valid].tolist()) == {0: 12, 1: 6, 2: 2}
    assert sorted([*train, *valid]) == list(range(100))


@pytest.mark.parametrize(
    "labels", [["a", "b"] * 20, torch.tensor([0.0, 1.0] * 20), [True, False] * 20]
)
def test_labels_of_any_type_can_be_divided(labels: Any) -> None:
    _, valid = split_indices(40, 10, labels=labels)
    assert Counter(bool(np.asarray(labels)[index] == np.asarray(labels)[0]) for index in valid) == {
        True: 5,
        False: 5,
    }


def test_a_stratified_split_has_exactly_the_size_asked_for() -> None:
    for size in range(1, 30):
        assert len(split_indices(31, size, labels=np.arange(31) % 7)[1]) == size


def test_a_stratified_split_depends_on_its_seed() -> None:
    labels = np.arange(100) % 4
    one, other = (split_indices(100, 20, seed, labels)[1].tolist() for seed in (0, 1))
    assert one != other


@pytest.mark.parametrize("name", ["targets", "labels", "_labels", "y"])
def test_the_labels_of_a_dataset_are_found_by_their_usual_names(name: str) -> None:
    class Own:
        def __len__(self) -> int:
            return 3

    dataset = Own()
    setattr(dataset, name, [0, 1, 0])
    assert labels_of(dataset) == [0, 1, 0]


def test_the_labels_of_torchs_own_datasets_are_found() -> None:
    tensors = TensorDataset(torch.rand(4, 2), torch.tensor([0, 1, 2, 3]))
    assert labels_of(tensors).tolist() == [0, 1, 2, 3]
    assert labels_of(Subset(Subset(tensors, [3, 2, 0]), [0, 2])).tolist() == [3, 0]


@pytest.mark.parametrize("dataset", [range(3), SimpleNamespace(targets=5)], ids=["none", "no list"])
def test_a_dataset_without_labels_cannot_be_stratified(dataset: Any) -> None:
    with pytest.raises(
        UserError, match=r"stratify: .* has no `targets` or `labels` that tell the classes"
    ):
        labels_of(dataset)


def test_a_class_balanced_sampler_draws_every_class_as_often_and_tells_the_counts(caplog):
    data = TensorDataset(torch.arange(1000), torch.tensor([0] * 900 + [1] * 100))
    with caplog.at_level("INFO"):
        loader = BaseDataLoader(data, 100, sampler="class_balanced", validation_split=0.2)
    assert "samples: 0: 7" in caplog.text
    held_out = set(loader.valid_sampler.indices.tolist())
    drawn = [torch.cat([batch[0] for batch in loader]) for _ in range(2)]
    assert [len(part) for part in drawn] == [800, 800]
    assert not torch.equal(*drawn)
    assert not held_out & set(drawn[0].tolist())
    assert 0.4 < (drawn[0] >= 900).float().mean() < 0.6
    loader.set_epoch(0)
    assert torch.equal(torch.cat([batch[0] for batch in loader]), drawn[0])
    assert len(torch.cat([batch[0] for batch in loader.split_validation()])) == 200


@pytest.mark.parametrize(
    ("data", "sampler", "message"),
    [
        ([1, 2], "class_balanced", "sampler: list has no `targets`"),
        (
            TensorDataset(torch.ones(4), torch.ones(4, 2)),
            "class_balanced",
            "wants one class a sample",
        ),
        (TensorDataset(torch.ones(4), torch.ones(4)), "balanced", "must be class_balanced"),
    ],
)
def test_a_class_balanced_sampler_that_cannot_be_is_told(data, sampler, message):
    with pytest.raises(UserError, match=message):
        BaseDataLoader(data, 2, sampler=sampler)


@pytest.mark.parametrize("kind", ["weighted", "class_balanced"])
def test_weighted_samples_are_divided_among_ranks(monkeypatch, kind):
    data = TensorDataset(torch.arange(48), torch.tensor([0] * 40 + [1] * 8))

    def drawn(rank, ranks):
        monkeypatch.setattr(base_sampler, "rank", lambda: rank)
        monkeypatch.setattr(base_sampler, "world_size", lambda: ranks)
        torch.manual_seed(3)
        sampler = WeightedRandomSampler(torch.rand(48), 33) if kind == "weighted" else kind
        return [batch[0].tolist() for batch in BaseDataLoader(data, 6, sampler=sampler)]

    whole, parts = drawn(0, 1), [drawn(rank, 3) for rank in range(3)]
    assert [sum(together, []) for together in zip(*parts, strict=True)] == whole  # noqa: RUF017
