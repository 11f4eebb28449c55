"""A state is saved if it can be loaded back, with its types; anything else is refused by name."""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from base.checkpoint.file import load, save
from base.checkpoint.plain import make_saveable, restore_objects, restore_types
from utils.errors import UserError

Pair = namedtuple("Pair", ["a", "b"])
SAVED = {
    "plain": [
        None,
        True,
        1,
        2.5,
        1j,
        "text",
        b"bytes",
        bytearray(b"b"),
        (1, (2,)),
        {1, 2},
        1 << 99,
    ],
    "torch": [torch.float16, torch.device("cpu"), torch.Size([2, 3])],
    "dicts": [OrderedDict(b=1, a=2), Counter("aab"), {1: {(1, 2): None}}],
    "defaultdicts": [defaultdict(list, {"a": [1]}), defaultdict(None, {1: 2})],
    "numpy": [np.float64(0.1), np.int64(3), np.bool_(True), {np.int64(1): 2}, {np.float32(1)}],
    "others": [deque([1, 2], maxlen=3), frozenset({1}), Path("a/b"), range(1, 9, 2)],
    "times": [datetime(2026, 1, 2, 3, 4, 5, 6), date(2026, 1, 2), timedelta(1, 2, 3)],
}


class Color(enum.Enum):
    RED = 1


class Count(enum.IntEnum):
    ONE = 1


@dataclass
class Stage:
    epoch: int = 1


CYCLE: list[Any] = []
CYCLE.append(CYCLE)
REFUSED = {
    "an enum": (Color.RED, "a Color"),
    "a number of an enum": (Count.ONE, "a Count"),
    "a dataclass": (Stage(), "a Stage"),
    "a named tuple": (Pair(1, 2), "a Pair"),
    "an object": (object(), "an object"),
    "a generator": (torch.Generator(), "a Generator"),
    "an array of objects": (np.array([{}], dtype=object), "a ndarray"),
    "a dict with a lambda": (defaultdict(lambda: 1), "a defaultdict"),
    "a list in itself": (CYCLE, "a list contains itself"),
    "a huge number": (1 << 9999, "an int of 10000 bits"),
    "an item of a set": ({Pair(1, 2)}, "a Pair"),
    "a lazy tensor": (torch.nn.UninitializedParameter(), "is a lazy tensor"),
}


def save_and_load(state: dict[str, Any], folder: Path) -> Any:
    save(make_saveable(state), folder / "file.pt")
    return load(folder / "file.pt")


@pytest.mark.parametrize("name", SAVED)
def test_values_come_back_with_their_types(tmp_path, name):
    loaded = save_and_load({"parts": {"x": SAVED[name]}}, tmp_path)["parts"]["x"]
    assert loaded == SAVED[name]
    assert list(map(repr, loaded)) == list(map(repr, SAVED[name]))


def test_arrays_come_back(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    loaded = save_and_load({"parts": {"x": {"table": array}}}, tmp_path)["parts"]["x"]["table"]
    assert isinstance(loaded, np.ndarray)
    assert (loaded.dtype, loaded.tolist()) == (array.dtype, array.tolist())
    loaded += 1  # it can be written to


@pytest.mark.parametrize("name", REFUSED)
def test_a_value_that_cannot_come_back_is_refused_by_its_name(name):
    value, kind = REFUSED[name]
    with pytest.raises(
        UserError, match=rf"^lr_scheduler\.stages\[0\][^ ]*: (.* )?{kind}"
    ) as caught:
        make_saveable({"parts": {"lr_scheduler": {"stages": [value]}}})
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_is_refused():
    value = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    with pytest.raises(
        UserError, match=r"^buffer: a Tensor \(torch\.Tensor\) that is nested cannot"
    ):
        make_saveable({"parts": {"buffer": value}})


def test_the_metadata_of_a_state_dict_stays():
    state = torch.nn.BatchNorm1d(2).state_dict()
    assert make_saveable({"parts": {}, "state_dict": state})["state_dict"]._metadata


class Wrapper(LRScheduler):
    """Holds another schedule and a function, as warm-up schedulers do."""

    def __init__(self, optimizer):
        self.after, self.shape = CosineAnnealingLR(optimizer, 4), np.sin
        self.rule = lambda step: step
        super().__init__(optimizer)

    def get_lr(self):
        return self.base_lrs


def test_an_object_inside_a_state_gets_its_state_back(tmp_path):
    """https://github.com/ildoonet/pytorch-gradual-warmup-lr/issues/27"""

    def make() -> Any:
        return Wrapper(torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1))

    first, second = make(), make()
    for _ in range(3):
        first.after.step()
    inner = second.after
    loaded = save_and_load({"parts": {"s": first.state_dict()}}, tmp_path)["parts"]["s"]
    second.load_state_dict(restore_objects(loaded, second.state_dict()))
    assert second.after is inner
    assert (inner.last_epoch, second.shape, second.rule(3)) == (3, np.sin, 3)
    with pytest.raises(ValueError, match=r"the function .*<lambda> is another one here"):
        restore_objects(loaded, second.state_dict() | {"rule": np.cos})


@pytest.mark.parametrize("kind", [list, tuple, deque, lambda items: defaultdict(list, a=items)])
def test_an_object_in_a_container_of_a_state_gets_its_state_back(tmp_path, kind):
    first, second = (
        CosineAnnealingLR(torch.optim.SGD([torch.ones(1)], lr=0.1), T_max) for T_max in (4, 7)
    )
    loaded = save_and_load({"parts": {"x": kind([first])}}, tmp_path)["parts"]["x"]
    assert restore_objects(loaded, kind([second])) == kind([second])
    assert second.T_max == 4


def test_a_damaged_description_is_an_error():
    with pytest.raises(ValueError, match=r"a pathlib\.Path cannot be made of 3"):
        restore_types({"saved_as": "pathlib.Path", "value": 3})
