"""Copies of a config with one value changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from tests.fuzz.render import Keys, list_members


def get(data: Any, keys: Keys) -> Any:
    """Returns the value at a path."""
    for key in keys:
        data = data[key]
    return data


def put(data: dict[str, Any], keys: Keys, value: Any) -> dict[str, Any]:
    """Returns a copy with another value at a path."""
    data = copy.deepcopy(data)
    get(data, keys[:-1])[keys[-1]] = value
    return data


def drop(data: dict[str, Any], keys: Keys) -> dict[str, Any]:
    """Returns a copy without the value at a path."""
    data = copy.deepcopy(data)
    del get(data, keys[:-1])[keys[-1]]
    return data


def rename(data: dict[str, Any], keys: Keys, new: str) -> dict[str, Any]:
    """Returns a copy in which the last key of a path is ``new``, at the same position."""
    data = copy.deepcopy(data)
    holder = get(data, keys[:-1])
    items = [(new if key == keys[-1] else key, value) for key, value in holder.items()]
    holder.clear()
    holder.update(items)
    return data


def list_leaves(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yields the path and the value of everything that is no mapping or list."""
    if isinstance(value, dict | list):
        for key, item in list_members(value):
            yield from list_leaves(item, (*keys, key))
    else:
        yield keys, value
