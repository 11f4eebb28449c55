"""Functions for batches of any form."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, UserDict, defaultdict
from typing import Any, NamedTuple

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from utils.batch import (
    batch_size_of,
    num_batches,
    num_samples,
    repeat_samples,
    split_target,
    to_device,
)
from utils.errors import UserError

META = torch.device("meta")  # a device other than the CPU that every machine has
CPU = torch.device("cpu")


class Pair(NamedTuple):
    x: Any
    y: Any


class Encoding(UserDict[str, Any]):
    """A mapping that moves itself, like HuggingFace's BatchEncoding."""

    def to(self, device: torch.device, non_blocking: bool) -> Encoding:
        return Encoding({key: value.to(device) for key, value in self.data.items()})


class Boxes(list[Any]):
    """A subclass of list, as a project may have one."""


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
        (defaultdict(list, {"a": tensor(), "b": [tensor()]}), 2),
        (Encoding({"a": tensor(), "b": tensor()}), 2),
        ([Encoding({"a": tensor()}), tensor()], 2),
        (Pair(tensor(), [tensor()]), 2),
        ((Boxes([tensor(), tensor()]), tensor()), 3),
        ((), 0),
    ],
    ids=[
        "tensor",
        "tuple",
        "list",
        "nested",
        "ordered dict",
        "user dict",
        "default dict",
        "encoding",
        "list with an encoding",
        "named tuple",
        "subclass of list",
        "empty",
    ],
)
def test_every_tensor_is_moved_and_containers_keep_their_type(batch: Any, tensors: int) -> None:
    moved = to_device(batch, META)
    assert type(moved) is type(batch)
    assert devices(moved) == ["meta"] * tensors


def test_a_tensor_that_is_there_already_is_not_copied() -> None:
    batch = [tensor(), {"x": tensor()}]
    moved = to_device(batch, torch.device("cpu"))
    assert moved[0] is batch[0]
    assert moved[1]["x"] is batch[1]["x"]


def test_a_default_dict_keeps_its_default_and_the_given_one_its_tensors() -> None:
    batch = defaultdict(list, {"a": tensor()})
    moved = to_device(batch, META)
    assert moved.default_factory is list
    assert batch["a"].device.type == "cpu"


def test_a_value_that_is_no_tensor_stays() -> None:
    other = object()
    batch = {"x": tensor(), "name": "a", "n": 3, "none": None, "other": other, "ids": ["a", "b"]}
    moved = to_device(batch, META)
    assert {key: value for key, value in moved.items() if key != "x"} == {
        key: value for key, value in batch.items() if key != "x"
    }
    assert moved["other"] is other


def test_an_object_with_a_method_to_moves_itself() -> None:
    packed = pack_sequence([torch.ones(2), torch.ones(1)])
    assert to_device((packed,), META)[0].data.device.type == "meta"


@dataclasses.dataclass(frozen=True)
class Pair:
    x: torch.Tensor
    names: list[str]


def test_a_dataclass_is_moved_field_by_field() -> None:
    pair = Pair(tensor(), ["a"])
    moved = to_device(pair, META)
    assert (type(moved), moved.x.device.type, moved.names) == (Pair, "meta", ["a"])
    assert pair.x.device.type == "cpu"


def test_a_packed_sequence_is_one_value() -> None:
    """A PackedSequence is a tuple, but its items mean nothing for themselves (poutyne #140)."""
    packed = pack_sequence([torch.ones(3, 2), torch.ones(1, 2)])
    assert split_target((packed, tensor(2)))[0] is packed
    assert batch_size_of(packed) == 2
    with pytest.raises(UserError, match="PackedSequence holds no"):
        split_target(packed)


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
def test_the_batch_size_is_the_first_dimension_or_the_number_of_listed_samples(
    batch: Any, n: int
) -> None:
    assert batch_size_of(batch) == n


def test_the_batch_size_is_that_of_the_first_value_that_tells_it() -> None:
    assert batch_size_of(None, {}, tensor(4), tensor(5)) == 4


@pytest.mark.parametrize(
    ("batch", "n"),
    [
        ((tensor(5), tensor(5)), 5),
        ((tensor(5), torch.tensor(1.0)), 5),
        ((tensor(5), tensor(4)), 0),
        ({"x": tensor(2), "names": ["a", "b", "c"]}, 2),
        (([tensor(1), tensor(2)], [{"boxes": tensor(7)}, {}]), 2),
        (([tensor(1), tensor(2)], [{}]), 0),
        (torch.tensor(1.0), 0),
        ({"x": 1}, 0),
    ],
)
def test_samples_are_counted_where_all_tensors_or_all_lists_agree(batch: Any, n: int) -> None:
    assert num_samples(batch) == n


def test_samples_are_repeated_up_to_a_size() -> None:
    batch = {"x": torch.arange(3), "scale": torch.tensor(2.0), "names": ("a", "b", "c"), "n": 3}
    made = repeat_samples(batch, 5)
    assert made["x"].tolist() == [0, 1, 2, 0, 1]
    assert made["scale"] is batch["scale"]
    assert made["names"] == ("a", "b", "c", "a", "b")
    assert made["n"] == 3


class Stream:
    """A loader that does not know its length, like torch's for an iterable dataset."""

    def __len__(self) -> int:
        raise TypeError("no length")


def test_the_number_of_batches_is_unknown_for_a_stream() -> None:
    assert num_batches([1, 2]) == 2
    assert num_batches(Stream()) is None
    assert num_batches(iter([])) is None


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
            "a batch with the keys x, y holds no target: "
            "name it one of target, targets, label, labels",
        ),
        (torch.ones(2), "a batch of type Tensor holds no"),
        ([torch.ones(2)], "a batch of type list holds no"),
        (5, "a batch of type int holds no"),
    ],
)
def test_a_batch_without_a_target_is_an_error_that_says_what_to_do(
    batch: Any, message: str
) -> None:
    with pytest.raises(UserError, match=r"or override Trainer\.forward") as caught:
        split_target(batch)
    assert str(caught.value).startswith(message)


class Movable:
    """A batch that notes how it is moved."""

    def to(self, device: torch.device, non_blocking: bool = False) -> tuple[str, bool]:
        return device.type, non_blocking


def test_only_copies_to_an_accelerator_do_not_wait() -> None:
    """A copy to the CPU could be read before it is complete."""
    assert to_device(Movable(), torch.device("cuda")) == ("cuda", True)
    assert to_device(Movable(), torch.device("cpu")) == ("cpu", False)
