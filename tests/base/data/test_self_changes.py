"""A run says once that its dataset changes itself, because a resume cannot bring that back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from base import BaseDataLoader

LINE = "A resumed run will not have the same bits if its samples depend on it: {}."


class Changing(Dataset[Any]):
    """Changes one of its attributes with each sample."""

    def __init__(self, change: Any) -> None:
        self.change, self.calls, self.level = change, 0, 0.5
        self.mean, self.arrays = float("nan"), [np.zeros(2), np.ones(2)]
        self.order, self.files = list(range(8)), [Path(str(number)) for number in range(8)]
        self.array, self.tensor = np.arange(8), torch.arange(8)
        # What only caches, keeps a record, or is opened late.
        self.length: int | None = None
        self.cache: dict[int, int] = {}
        self.filled: list[int | None] = [None] * 8
        self.table, self.record, self.is_open, self.file = np.zeros(8), [0], False, Any

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        self.change(self, index)
        return index


class Stream(IterableDataset[Any]):
    def __init__(self) -> None:
        self.order = list(range(8))

    def __iter__(self) -> Iterator[int]:
        random.Random(1).shuffle(self.order)
        return iter(self.order)


def fill_caches(data: Any, index: int) -> None:
    data.length, data.cache[index], data.filled[index] = 8, index, index
    data.table[index], data.is_open, data.file = 1.0, True, object()
    data.record.append(index)


def list_warnings(data: Any, caplog: pytest.LogCaptureFixture) -> list[str]:
    loader = BaseDataLoader(data, 4)
    for _ in range(2):
        for _ in loader:
            loader.state_dict()
    return caplog.messages


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda data, index: setattr(data, "calls", data.calls + 1), "calls"),
        (lambda data, index: setattr(data, "level", data.level * 0.9), "level"),
        (lambda data, index: data.order.reverse(), "order"),
        (lambda data, index: data.files.append(data.files.pop(0)), "files"),
        (lambda data, index: setattr(data, "array", np.roll(data.array, 1)), "array"),
        (lambda data, index: setattr(data, "tensor", data.tensor.roll(1)), "tensor"),
    ],
)
def test_a_counter_and_an_order_that_a_dataset_changes_are_named_once(
    change: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = Changing(lambda data, index: change(data, index) if index == 3 else None)
    loader = BaseDataLoader(data, 8)
    for _ in range(2):
        list(loader)
        loader.state_dict()
    assert caplog.messages == [LINE.format(f"Changing changes its `{name}` itself")]


class WithEpoch(Changing):
    def set_epoch(self, epoch: int) -> None:
        self.calls = epoch


def test_what_set_epoch_changes_is_not_named(caplog: pytest.LogCaptureFixture) -> None:
    loader = BaseDataLoader(WithEpoch(lambda data, index: None), 8)
    list(loader), list(loader)
    loader.state_dict()
    assert caplog.messages == []


def test_an_order_that_a_stream_shuffles_is_named(caplog: pytest.LogCaptureFixture) -> None:
    assert list_warnings(Stream(), caplog) == [LINE.format("Stream changes its `order` itself")]


def test_caches_and_what_is_opened_late_are_not_named(caplog: pytest.LogCaptureFixture) -> None:
    assert list_warnings(Changing(fill_caches), caplog) == []
