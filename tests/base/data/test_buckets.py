"""Batches of samples of similar lengths: their order, their resume, and the padding they save."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import pytest
import torch

from base import BaseDataLoader
from base.data.buckets import BucketBatchSampler
from base.data.padding import PadCollate
from tests.helpers import differences
from tests.ranks import in_ranks
from utils.errors import UserError

N_SAMPLES = 200


class Words:
    """Samples of 1 to 60 numbers, of which the first is the index; most are short."""

    def __init__(self) -> None:
        drawn = torch.rand(N_SAMPLES, generator=torch.Generator().manual_seed(0))
        self.sizes = ((drawn**3) * 60).long() + 1

    def __len__(self) -> int:
        return N_SAMPLES

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"ids": [index, *[1] * (int(self.sizes[index]) - 1)], "label": index % 3}


def make_loader(num_workers: int = 0, **options: Any) -> BaseDataLoader:
    words = Words()
    torch.manual_seed(3)
    sampler = BucketBatchSampler(words, lengths="ids", **options)
    collate = PadCollate(-1)
    return BaseDataLoader(
        words, 1, batch_sampler=sampler, collate_fn=collate, num_workers=num_workers
    )


def list_indices(loader: Any, count: int | None = None) -> list[list[int]]:
    return [batch["ids"][:, 0].tolist() for batch in itertools.islice(loader, count)]


@pytest.mark.parametrize("options", [{"batch_size": 16}, {"max_tokens": 150}])
def test_each_epoch_has_all_samples_in_new_batches_of_little_padding(options: Any) -> None:
    loader = make_loader(**options)
    epochs = [list(loader), list(loader)]
    for batches in epochs:
        assert len(batches) == len(loader)
        indices = [index for batch in batches for index in batch["ids"][:, 0].tolist()]
        assert sorted(indices) == list(range(N_SAMPLES))
        if "max_tokens" in options:
            assert all(batch["ids"].numel() <= 150 for batch in batches)
    assert measure_padding(epochs[0]) < 0.15
    plain = BaseDataLoader(Words(), 16, collate_fn=PadCollate(-1))
    assert measure_padding(list(plain)) > 0.5
    orders = [[b["ids"][0, 0].item() for b in batches] for batches in epochs]
    assert orders[0] != orders[1]


def measure_padding(batches: list[Any]) -> float:
    """The part of the numbers in batches that is padding."""
    padded = sum(int((batch["ids"] == -1).sum()) for batch in batches)
    return padded / sum(batch["ids"].numel() for batch in batches)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_goes_on_from_any_batch(num_workers: int) -> None:
    expected = list_indices(make_loader(batch_size=16))
    loader = make_loader(num_workers, batch_size=16)
    taken = list_indices(loader, 5)
    resumed = make_loader(num_workers, batch_size=16)
    resumed.load_state_dict(loader.state_dict())
    assert taken + list_indices(resumed) == expected
    assert list_indices(resumed) != expected


@pytest.mark.parametrize("count", [5, None], ids=["in an epoch", "after an epoch"])
def test_a_resumed_loader_has_the_state_of_one_without_a_stop(count: int | None) -> None:
    loader = make_loader(batch_size=16)
    list_indices(loader, count)
    resumed = make_loader(batch_size=16)
    resumed.load_state_dict(loader.state_dict())
    list_indices(resumed, 7)
    if count is None:
        list_indices(loader, 7)
    else:
        loader = make_loader(batch_size=16)
        list_indices(loader, count + 7)
    assert not differences(loader.state_dict(), resumed.state_dict())


def test_a_run_that_was_changed_between_two_epochs_resumes_the_second() -> None:
    first = make_loader(batch_size=16)
    list_indices(first)
    changed = make_loader(batch_size=8)
    changed.load_state_dict(first.state_dict())
    taken = list_indices(changed, 7)
    again = make_loader(batch_size=8)
    again.load_state_dict(changed.state_dict())
    rest = list_indices(again)
    assert sorted(itertools.chain(*taken, *rest)) == list(range(N_SAMPLES))


def test_changed_limits_give_each_sample_of_the_epoch_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    loader = make_loader(batch_size=16)
    list_indices(loader)
    taken = list_indices(loader, 4)
    second = make_loader(max_tokens=100)
    second.load_state_dict(loader.state_dict())
    taken += list_indices(second, 3)
    third = make_loader(batch_size=5)
    third.load_state_dict(second.state_dict())
    taken += list_indices(third)
    assert sorted(itertools.chain(*taken)) == list(range(N_SAMPLES))
    assert "has begun with batches of batch_size=16" in caplog.text
    assert {len(batch) for batch in list_indices(third)} == {5}  # the next epoch


def test_a_run_that_was_changed_in_one_epoch_resumes_the_next() -> None:
    first = make_loader(batch_size=16)
    list_indices(first, 4)
    changed = make_loader(batch_size=8)
    changed.load_state_dict(first.state_dict())
    list_indices(changed)
    taken = list_indices(changed, 7)
    again = make_loader(batch_size=8)
    again.load_state_dict(changed.state_dict())
    rest = list_indices(again)
    assert sorted(itertools.chain(*taken, *rest)) == list(range(N_SAMPLES))
    assert len(taken) + len(rest) == N_SAMPLES / 8


def give_rest(state: dict[str, Any] | None = None) -> list[list[int]]:
    """The batches of an epoch that are left at a state of the loader."""
    loader = make_loader(batch_size=16)
    if state is not None:
        loader.load_state_dict(state)
    return list_indices(loader)


def test_ranks_divide_the_batches_of_one_process_and_go_on_with_its_epoch() -> None:
    loader = make_loader(batch_size=16)
    list_indices(loader, 5)
    for state in (None, loader.state_dict()):
        of_ranks = in_ranks(2, give_rest, state)
        both = [first + second for first, second in zip(*of_ranks, strict=True)]
        assert both == give_rest(state)


def test_without_shuffle_the_shortest_come_first() -> None:
    loader = make_loader(batch_size=16, shuffle=False)
    sizes = [Words().sizes[batch].tolist() for batch in list_indices(loader)]
    assert list(itertools.chain(*sizes)) == sorted(Words().sizes.tolist())
    assert list_indices(loader) == list_indices(loader)


class Measured(Words):
    """Has the lengths as a method, and must not be read for them."""

    def lengths(self) -> torch.Tensor:
        return self.sizes

    def __getitem__(self, index: int) -> dict[str, Any]:
        raise AssertionError


class Table(Words):
    """Has columns as HuggingFace's datasets have."""

    column_names = ("length", "ids")

    def with_format(self, kind: None) -> dict[str, Any]:
        return {"length": self.sizes.tolist(), "ids": [[0] * int(size) for size in self.sizes]}

    def __getitem__(self, index: int) -> dict[str, Any]:
        raise AssertionError


def test_lengths_come_from_an_attribute_a_column_or_the_samples() -> None:
    expected = Words().sizes.tolist()
    subset = torch.utils.data.Subset(Measured(), [5, 2])  # type: ignore[arg-type, type-var]
    found = [(Measured(), None), (Table(), None), (Table(), "ids"), (Words(), "ids")]
    for dataset, name in found:
        assert BucketBatchSampler(dataset, 4, lengths=name).lengths.tolist() == expected
    assert BucketBatchSampler(subset, 1).lengths.tolist() == [expected[5], expected[2]]


@pytest.mark.parametrize(
    ("options", "key", "text"),
    [
        ({}, "batch_size", "is missing; give it, or max_tokens"),
        ({"batch_size": 0}, "batch_size", "0 must be at least 1"),
        ({"max_tokens": 5}, "max_tokens", "5 is less than the length"),
        ({"max_tokens": 90, "drop_last": True}, "drop_last", "has no meaning with max_tokens"),
        ({"batch_size": 300, "drop_last": True}, "drop_last", "leaves no batch of 300"),
        ({"batch_size": 4, "lengths": None}, "lengths", "name the field whose length counts"),
        ({"batch_size": 4, "lengths": "text"}, "lengths", "its fields are ids, label"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(options: Any, key: str, text: str) -> None:
    with pytest.raises(UserError, match=text) as caught:
        BucketBatchSampler(Words(), **({"lengths": "ids"} | options))
    assert caught.value.problems[0].key == key


def test_a_loader_refuses_it_as_a_sampler_and_with_drop_last() -> None:
    sampler = BucketBatchSampler(Words(), 16, lengths="ids")
    with pytest.raises(UserError, match="name it `batch_sampler`"):
        BaseDataLoader(Words(), 16, sampler=sampler)
    with pytest.raises(UserError, match="drop_last: has no effect"):
        BaseDataLoader(Words(), 16, batch_sampler=sampler, drop_last=True)
