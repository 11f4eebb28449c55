"""PadCollate: what is padded, by which value, and what stays as it is."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch

from base.data.padding import PadCollate
from utils.errors import UserError

Point = namedtuple("Point", "x label")


def test_each_field_is_padded_by_its_value() -> None:
    collate = PadCollate({"ids": 7, "labels": -100}, masks={"mask": "ids"}, lengths={"n": "ids"})
    batch = collate(
        [
            {"ids": [1, 2], "labels": torch.tensor([5]), "other": np.ones(2), "class": 1},
            {"ids": [3], "labels": torch.tensor([6, 7]), "other": np.ones(3), "class": 2},
        ]
    )
    assert batch["ids"].tolist() == [[1, 2], [3, 7]]
    assert batch["labels"].tolist() == [[5, -100], [6, 7]]
    assert batch["other"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["class"].tolist() == [1, 2]
    assert batch["mask"].tolist() == [[True, True], [True, False]]
    assert batch["n"].tolist() == [2, 1]


def test_texts_and_none_stay_lists() -> None:
    sample = {"text": "a", "tags": ["a", "b"], "none": None, "some": None, "number": 1.5}
    batch = PadCollate()([sample, sample | {"tags": ["c"], "some": [1]}])
    assert batch["text"] == ["a", "a"]
    assert batch["tags"] == [["a", "b"], ["c"]]
    assert batch["none"] is None
    assert batch["some"] == [None, [1]]
    assert batch["number"].dtype == torch.float64  # as without padding


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[], [1, 2]], [[0, 0], [1, 2]]),
        ([[], []], [[], []]),
        ([[1], [0.5, 1.5]], [[1.0, 0.0], [0.5, 1.5]]),
        ([[[1], [2, 3]], [[4]]], [[[1, 0], [2, 3]], [[4, 0], [0, 0]]]),
        ([[[1.0, 2.0]], []], [[[1.0, 2.0]], [[0.0, 0.0]]]),
        ([torch.ones(1, 2), torch.ones(2, 1)], [[[1, 1], [0, 0]], [[1, 0], [1, 0]]]),
        ([[True], [True, True]], [[True, False], [True, True]]),
    ],
)
def test_lists_and_tensors_of_any_depth_are_padded(values: Any, expected: Any) -> None:
    for batch in (
        PadCollate()([{"a": {"b": value}} for value in values])["a"]["b"],
        PadCollate()([(value, 0) for value in values])[0],
        PadCollate()([Point(value, 0) for value in values]).x,
    ):
        assert batch.tolist() == expected


def test_a_tuple_of_tensors_stays_several_fields() -> None:
    batch = PadCollate()([{"x": (torch.ones(n), torch.ones(1))} for n in (1, 2)])
    assert [item.tolist() for item in batch["x"]] == [[[1, 0], [1, 1]], [[1], [1]]]


def test_a_length_becomes_a_multiple() -> None:
    collate = PadCollate({"ids": 0}, pad_to_multiple_of=4)
    batch = collate([{"ids": [1, 2, 3, 4, 5], "x": [1]}, {"ids": [1], "x": [1]}])
    assert batch["ids"].shape == (2, 8)
    assert batch["x"].shape == (2, 1)
    pictures = [(torch.ones(3, 5, 4), 0), (torch.ones(3, 4, 6), 1)]
    assert PadCollate()(pictures)[0].shape == (2, 3, 5, 6)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"padding_value": {"idx": 0}}, "no field 'idx'; the samples have ids, x"),
        ({"padding_value": 0.5}, "0.5 does not fit 'ids' of torch.int64"),
        ({"masks": {"mask": "x"}}, "mask: the samples have no field 'x' with a length"),
        ({"lengths": {"x": "ids"}}, "x: the samples have a field 'x' already"),
        ({"pad_to_multiple_of": 4}, "pad_to_multiple_of: needs the names of fields"),
        ({"pad_to_multiple_of": 0}, "pad_to_multiple_of: 0 must be at least 1"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(options: Any, text: str) -> None:
    with pytest.raises(UserError, match=text):
        PadCollate(**options)([{"ids": [1, 2], "x": 1}, {"ids": [1], "x": 1}])


def test_samples_of_several_forms_are_errors() -> None:
    collate = PadCollate()
    for samples, text in (
        ([{"ids": [1]}, {"x": 1}], "1 of 2 samples have no field 'ids'"),
        ([(1, 2), (1,)], "a sample has the lengths 2, 1; give equal ones"),
        ([{"x": torch.ones(2)}, {"x": torch.ones(2, 1)}], "'x' has 1, 2 dimensions"),
    ):
        with pytest.raises(UserError, match=text):
            collate(samples)
