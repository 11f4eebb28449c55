"""Notices counters and orders that a dataset changes itself while it is read."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from base.data.fingerprint import fingerprint
from base.data.kept_state import MAX_NUMEL, count_items, has_saved_attributes, is_stateful
from base.data.walk import find_user_module, walk

Values = dict[tuple[str, str], "Value"]  # by the path of the object and the name of the attribute


class Value(NamedTuple):
    """What is compared of an attribute.

    Attributes:
        kind: of the value, and its length. A container that grows is a cache, or it keeps a record.
        content: tells two values of this kind apart.
        owner: the name of the class of the object.
    """

    kind: Any
    content: Any
    owner: str


class SelfChanges:
    """The plain attributes of the user's datasets and transforms at the start of a pass.

    A resumed run does not get them back. Those that only cache something do not count: what was
    None, a flag or a mapping, what has another length now, and arrays that are filled.

    Args:
        roots: the dataset and the collate function, by name.
    """

    def __init__(self, roots: Mapping[str, Any]) -> None:
        self.roots = dict(roots)
        self._before = _capture(self.roots)

    def find(self) -> list[str]:
        """Descriptions of the attributes that have changed since."""
        now = _capture(self.roots)
        return [
            f"{before.owner} changes its `{name}` itself"
            for (path, name), before in self._before.items()
            if (path, name) in now
            and now[path, name].kind == before.kind
            and now[path, name].content != before.content
        ]


def _capture(roots: Mapping[str, Any]) -> Values:
    values: Values = {}
    for path, item in walk(roots):
        if is_stateful(item) or has_saved_attributes(path, item):
            continue
        module = type(item).__module__
        if module.partition(".")[0] == "base" or not find_user_module(module):
            continue
        for name, value in getattr(item, "__dict__", {}).items():
            kind, content = _describe(value)
            if kind is not None:
                values[path, name] = Value(kind, content, type(item).__name__)
    return values


def _describe(value: Any) -> tuple[Any, Any]:
    """The kind and the content of a value; None, None if it is not compared."""
    if type(value) in (int, float):
        return type(value), repr(value)  # NaN does not equal itself
    if count_items(value) > MAX_NUMEL:
        return None, None
    if isinstance(value, list | deque):
        if any(item is None for item in value):  # it is filled while samples are read
            return None, None
        return (type(value), len(value)), fingerprint(list(value))
    if isinstance(value, torch.Tensor) and value.device.type == "cpu" and value.dim() == 1:
        value = value.detach().numpy()
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "biuf":
        # The same numbers in another order.
        return (value.dtype.str, np.sort(value).tobytes()), value.tobytes()
    return None, None
