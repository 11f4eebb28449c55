"""Finds objects inside a dataset or a sampler, wherever they are nested."""

from __future__ import annotations

import functools
import random
import sys
import types
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from base.data.generators import GENERATORS
from base.data.loader import PositionedLoader

MAX_OBJECTS = 10_000  # that are looked at
MAX_ITEMS = 100  # of one container that are looked at
ATOMS = (str, bytes, bytearray, int, float, complex, torch.Tensor, np.ndarray, np.generic, PurePath)
LEAVES = (*GENERATORS, type, types.ModuleType, DataLoader, PositionedLoader)
FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)


def walk(roots: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the objects in ``roots`` and everything that they refer to, each once, by its path.

    It looks into attributes, containers, functions, and into the modules of the user's classes
    for random generators. It does not look into other data loaders. The generators of Python, NumPy
    and torch that all code shares are left out.
    """
    seen = {id(value) for value in _list_shared_generators()}
    waiting = deque(roots.items())
    visited: list[Any] = []  # keeps the objects alive, because ``seen`` holds their addresses
    while waiting and len(visited) < MAX_OBJECTS:
        path, value = waiting.popleft()
        if value is None or isinstance(value, ATOMS) or id(value) in seen:
            continue
        seen.add(id(value))
        visited.append(value)
        yield path, value
        if not isinstance(value, LEAVES):
            for name, child in _list_children(value):
                waiting.append((name if ":" in name else f"{path}.{name}", child))


def find_generators(roots: Mapping[str, Any]) -> dict[str, Any]:
    """The random generators in ``roots``, by their path."""
    return {path: value for path, value in walk(roots) if isinstance(value, GENERATORS)}


def has_epochs(roots: Mapping[str, Any]) -> bool:
    """Whether anything in ``roots`` has ``set_epoch``."""
    return bool(_list_with_epochs(roots))


def tell_epoch(epoch: int, roots: Mapping[str, Any]) -> None:
    """Calls ``set_epoch(epoch)`` of everything in ``roots`` that has it."""
    for value in _list_with_epochs(roots):
        value.set_epoch(epoch)


def _list_with_epochs(roots: Mapping[str, Any]) -> list[Any]:
    candidates = [value for _, value in walk(roots) if not isinstance(value, LEAVES)]
    return [value for value in candidates if callable(getattr(value, "set_epoch", None))]


def _list_shared_generators() -> list[Any]:
    shared = [torch.default_generator, getattr(random, "_inst", None)]
    return [*shared, getattr(np.random.mtrand, "_rand", None)]


def _list_children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        items = [value[key] for key in list(value)[:MAX_ITEMS]] if len(value) else []
        return [(str(key), item) for key, item in zip(value, items, strict=False)]
    if isinstance(value, list | tuple | set | frozenset | deque):
        children = [(str(i), item) for i, item in zip(range(MAX_ITEMS), value, strict=False)]
        return children + list(getattr(value, "__dict__", {}).items())
    if isinstance(value, FUNCTIONS):
        return _list_children_of_function(value)
    children = list(getattr(value, "__dict__", {}).items())
    for kind in type(value).__mro__:
        names = vars(kind).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                children.append((name, getattr(value, name)))
        module = sys.modules.get(kind.__module__)
        if module is not None and is_of_the_user(module):
            children += [
                (f"{module.__name__}:{name}", item)
                for name, item in vars(module).items()
                if isinstance(item, GENERATORS)
            ]
    return children


def _list_children_of_function(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, functools.partial):
        return [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
    if isinstance(value, types.MethodType):
        return [("function", value.__func__), ("self", value.__self__)]
    if not is_of_the_user(sys.modules.get(value.__module__ or "")):
        return []
    children: list[tuple[str, Any]] = [("defaults", value.__defaults__)]
    children.append(("keyword_defaults", value.__kwdefaults__))
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        try:
            children.append((name, cell.cell_contents))
        except ValueError:  # it is still empty
            continue
    for name in value.__code__.co_names:
        item = value.__globals__.get(name)
        if isinstance(item, GENERATORS):
            children.append((f"{value.__module__}:{name}", item))
    return children


@functools.cache
def is_of_the_user(module: types.ModuleType | None) -> bool:
    """Whether a module belongs to a project, and not to Python or to an installed package."""
    path = getattr(module, "__file__", None)
    if module is None or path is None:
        return module is not None and module.__name__ == "__main__"
    return "site-packages" not in path and not path.startswith((sys.base_prefix, sys.prefix))
