"""Walks through nested states: dicts, lists and tuples, with tensors and plain values in them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch


def map_items(value: Any, change: Callable[[Any, Any], Any]) -> Any:
    """Replaces each item of a dict, list, tuple or deque by ``change(key, item)``.

    Returns:
        A copy; ``value`` itself if no item has changed. A copied dict keeps its type, and the
        `_metadata` of a state dict.
    """
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    changed = [(key, change(key, item)) for key, item in pairs]
    if all(item is value[key] for key, item in changed):
        return value
    if isinstance(value, tuple):
        return tuple(item for _, item in changed)
    copied = copy.copy(value)
    for key, item in changed:
        copied[key] = item
    return copied


def map_tensors(state: Any, change: Callable[[str, Any], Any], name: str = "") -> Any:
    """Replaces each tensor by ``change(name, tensor)``; a name is dotted: ``state_dict.weight``."""
    if isinstance(state, torch.Tensor):
        return change(name, state)
    if not isinstance(state, dict) and type(state) not in (list, tuple):
        return state
    prefix = f"{name}." if name else ""
    return map_items(state, lambda key, item: map_tensors(item, change, f"{prefix}{key}"))


def find_tensors(state: Any) -> list[torch.Tensor]:
    """Lists the tensors in a state."""
    if isinstance(state, torch.Tensor):
        return [state]
    items = list(state.values()) if isinstance(state, dict) else state
    if not isinstance(items, list | tuple):
        return []
    return [tensor for item in items for tensor in find_tensors(item)]
