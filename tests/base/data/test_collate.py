"""Batches of samples of any make: unchanged, or refused in a line that names the field."""

from __future__ import annotations

import dataclasses
import datetime
from collections import UserDict, namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import default_collate

from base import BaseDataLoader
from base.data.collate import collate
from utils.errors import UserError

Point = namedtuple("Point", "x label")


@dataclasses.dataclass
class Row:
    x: float


@pytest.mark.parametrize(
    "samples",
    [
        [(torch.ones(2), 1), (torch.zeros(2), 2)],
        [{"x": np.ones(2), "text": "a"}, {"x": np.ones(2), "text": "bc"}],
        [UserDict(x=1.5), UserDict(x=2)],
        [Point([1, 2], b"a"), Point([3, 4], b"bc")],
    ],
)
def test_what_torch_takes_gives_its_batch(samples: list[Any]) -> None:
    batch, expected = collate(samples), default_collate(samples)
    assert type(batch) is type(expected)
    assert repr(batch) == repr(expected)


def test_a_field_that_is_none_stays_none() -> None:
    batch = collate([{"x": 1, "mask": None}] * 2)
    assert batch["mask"] is None
    assert collate([(1, None), (2, None)])[1] is None


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1, None], r"the field 'x' is None in 1 of 2 samples; give a value in each"),
        ([[1, 2], [1]], r"'x' has the lengths 2, 1; pad them by `collate_fn: PadCollate`"),
        ([["a", "b"], ["a"]], r"'x' has the lengths 2, 1; `collate_fn: PadCollate` keeps"),
        ([torch.ones(2, 3), torch.ones(2, 4)], r"'x' has the shapes \(2, 3\), \(2, 4\); pad them"),
        ([np.ones(2), np.ones(1)], r"'x' has the shapes \(2,\), \(1,\); pad them"),
        ([{"y": [1]}, {"y": [1, 2]}], r"'x.y' has the lengths 1, 2"),
        ([{"y": 1}, {"z": 1}], r"1 of 2 samples have no field 'x.y'"),
        ([1, "a"], r"'x' is of several types: int, str"),
        ([torch.ones(2).to_sparse()] * 2, r"'x' is a sparse tensor"),
        ([np.array(["a"], dtype=object)] * 2, r"'x' is an array of object"),
        ([np.array(["ab"])] * 2, r"'x' is an array of <U2; give a list of texts"),
        ([Image.new("L", (2, 2))] * 2, r"'x' is a PIL Image; end the dataset's transform with"),
        ([datetime.date(2026, 1, 1)] * 2, r"'x' is a datetime date; give a number"),
        ([Row(1.0)] * 2, r"'x' is a Row; give vars\(sample\), a dict"),
        ([{1, 2}] * 2, r"'x' is a set; give tensors, numbers, texts or dicts"),
        ([2**70] * 2, r"'x' has numbers of more than 64 bits"),
    ],
)
def test_other_samples_are_refused_with_their_field(values: list[Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        collate([{"label": 0, "x": value} for value in values])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_loader_names_its_section(num_workers: int) -> None:
    samples = [([0] * size, 1) for size in (1, 2)]
    loader = BaseDataLoader(samples, 2, num_workers=num_workers)
    with pytest.raises(UserError, match="data_loader: its samples make no batch: the field '0'"):
        list(loader)
