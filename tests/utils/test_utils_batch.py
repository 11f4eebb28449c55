"""What the loop needs to know of a batch of any shape."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from utils.batch import batch_size_of, call_model, split_target, to_device
from utils.errors import UserError

META = torch.device("meta")  # a device other than the CPU that every machine has


class Pair(NamedTuple):
    x: Any
    y: Any


def tensor(n: int = 2) -> torch.Tensor:
    return torch.ones(n, 3)


def devices(batch: Any) -> list[str]:
    if isinstance(batch, torch.Tensor):
        return [batch.device.type]
    values = (
        batch.values()
        if hasattr(batch, "values")
        else batch
        if isinstance(batch, list | tuple)
        else ()
    )
    return [device for value in values for device in devices(value)]


@pytest.mark.parametrize(
    ("batch", "tensors"),
    [
        (tensor(), 1),
        ((tensor(), tensor()), 2),
        ([tensor(), tensor()], 2),
        ({"a": tensor(), "b": [tensor(), {"c": tensor()}]}, 3),
        (OrderedDict(a=tensor()), 1),
        (UserDict({"a": tensor()}), 1),
        (Pair(tensor(), [tensor()]), 2),
        ((), 0),
    ],
    ids=["tensor", "tuple", "list", "nested", "ordered dict", "user dict", "named tuple", "empty"],
)
def test_every_tensor_is_moved_and_containers_keep_their_type(batch: Any, tensors: int) -> None:
    moved = to_device(batch, META)
    assert type(moved) is type(batch)
    assert devices(moved) == ["meta"] * tensors


def test_what_is_no_tensor_stays() -> None:
    other = object()
    batch = {"x": tensor(), "name": "a", "n": 3, "none": None, "other": other, "ids": ["a", "b"]}
    moved = to_device(batch, META)
    assert {key: value for key, value in moved.items() if key != "x"} == {
        key: value for key, value in batch.items() if key != "x"
    }
    assert moved["other"] is other


def test_what_can_move_itself_does() -> None:
    packed = pack_sequence([torch.ones(2), torch.ones(1)])
    assert to_device((packed,), META)[0].data.device.type == "meta"


def test_the_batch_that_is_given_stays_as_it_is() -> None:
    batch = {"x": [tensor()]}
    to_device(batch, META)
    assert devices(batch) == ["cpu"]


@pytest.mark.parametrize(
    ("batch", "n"),
    [
        (tensor(5), 5),
        ((tensor(5), tensor(5)), 5),
        ({"id": ["a", "b"], "x": tensor(2)}, 2),
        ({"meta": {"deep": [tensor(4)]}}, 4),
        (["a", tensor(3)], 3),
        (torch.tensor(1.0), 1),
        ([], 1),
        ({"id": ["a"]}, 1),
        ([torch.ones(3, 4), torch.ones(2, 4)], 2),
        ([{"boxes": torch.ones(5, 4)}, {"boxes": torch.ones(5, 4)}, {}], 3),
        ((torch.ones(0), tensor(2)), 2),
    ],
)
def test_the_length_of_a_batch_is_that_of_its_first_tensor(batch: Any, n: int) -> None:
    assert batch_size_of(batch) == n


@pytest.mark.parametrize("kind", [tuple, list])
def test_a_sequence_ends_with_the_target(kind: Any) -> None:
    assert split_target(kind(["x", "y"])) == ("x", "y")
    assert split_target(kind(["a", "b", "y"])) == (("a", "b"), "y")


@pytest.mark.parametrize("key", ["target", "targets", "label", "labels"])
def test_a_mapping_holds_the_target_under_a_usual_name(key: str) -> None:
    batch = {"x": 1, key: 2, "z": 3}
    assert split_target(batch) == ({"x": 1, "z": 3}, 2)
    assert key in batch


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            {"x": 1, "y": 2},
            "a batch with the keys x, y holds no target: name it one of target, targets, label, labels",
        ),
        (torch.ones(2), "a batch of type Tensor holds no"),
        ([torch.ones(2)], "a batch of type list holds no"),
        (5, "a batch of type int holds no"),
    ],
)
def test_a_batch_without_a_target_is_told_with_the_way_out(batch: Any, message: str) -> None:
    with pytest.raises(UserError, match=r"or override Trainer\.forward") as caught:
        split_target(batch)
    assert str(caught.value).startswith(message)


class Adds(nn.Module):
    def forward(self, a: int, b: int = 10) -> int:
        return a + b


@pytest.mark.parametrize(
    ("inputs", "output"),
    [(1, 11), ((1, 2), 3), ([1, 2], 3), ({"a": 1, "b": 2}, 3), ({"b": 5, "a": 1}, 6)],
)
def test_a_model_is_called_with_what_the_batch_holds(inputs: Any, output: int) -> None:
    assert call_model(Adds(), inputs) == output
