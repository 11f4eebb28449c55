"""Finds objects inside a dataset or a sampler, wherever they are nested."""

from __future__ import annotations

import functools
import random
import sys
import types
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from base.data.generators import GENERATORS
from base.data.loader import PositionedLoader

MAX_OBJECTS = 10_000  # that are looked at
MAX_ITEMS = 100  # of one container that are looked at, with a few exceptions
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


def call_set_epoch(epoch: int, roots: Mapping[str, Any]) -> bool:
    """Calls ``set_epoch(epoch)`` of everything in ``roots`` that has it; tells if anything has."""
    objects = [value for _, value in walk(roots) if not isinstance(value, LEAVES)]
    found = [value for value in objects if callable(getattr(value, "set_epoch", None))]
    for value in found:
        value.set_epoch(epoch)
    return bool(found)


def _list_shared_generators() -> list[Any]:
    shared = [torch.default_generator, getattr(random, "_inst", None)]
    return [*shared, getattr(np.random.mtrand, "_rand", None)]


def _list_children(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [(str(key), value[key]) for key in _take(value, value.get)]
    if isinstance(value, types.FunctionType):
        if find_user_module(value.__module__) is None:
            return []
        used = {name: value.__globals__.get(name) for name in value.__code__.co_names}
        return list_references(value) + _pick_generators(value.__module__, used)
    if isinstance(value, FUNCTIONS):
        return list_references(value)
    children = list(list_attributes(value).items())
    if isinstance(value, list | tuple | set | frozenset | deque):
        return [(str(i), item) for i, item in enumerate(_take(value))] + children
    for kind in type(value).__mro__:
        module = find_user_module(kind.__module__)
        if module is not None:
            children += _pick_generators(module.__name__, vars(module))
    return children


def _take(container: Collection[Any], get: Callable[[Any], Any] | None = None) -> list[Any]:
    """The first items of a container, and the datasets and generators among the others.

    All other items of a long container are data.

    Args:
        container: gives items or keys.
        get: the item of a key; None if these are the items.
    """
    if len(container) <= MAX_ITEMS:
        return list(container)
    items = list(islice(container, MAX_OBJECTS))
    values = items if get is None else list(map(get, items))
    more = zip(items[MAX_ITEMS:], values[MAX_ITEMS:], strict=True)
    return items[:MAX_ITEMS] + [
        item
        for item, value in more
        if isinstance(value, (Dataset, *GENERATORS)) or hasattr(type(value), "set_epoch")
    ]


def _pick_generators(module: str, variables: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        (f"{module}:{name}", item)
        for name, item in variables.items()
        if isinstance(item, GENERATORS)
    ]


def list_attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object, those in ``__slots__`` too."""
    found = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        names = vars(kind).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found[name] = getattr(value, name)
    return found


def list_references(function: Any) -> list[tuple[str, Any]]:
    """The arguments that a function, method or ``partial`` keeps, and the cells of a closure."""
    if isinstance(function, functools.partial):
        return [("func", function.func), ("args", function.args), ("keywords", function.keywords)]
    if isinstance(function, types.MethodType):
        return [("function", function.__func__), ("self", function.__self__)]
    found = [("defaults", function.__defaults__), ("keyword_defaults", function.__kwdefaults__)]
    cells = function.__closure__ or ()
    for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
        try:
            found.append((name, cell.cell_contents))
        except ValueError:  # it is still empty
            continue
    return found


def find_user_module(name: str | None) -> types.ModuleType | None:
    """The module ``name`` if it belongs to a project, and not to Python or to a package."""
    module = sys.modules.get(name or "")
    return module if module is not None and _is_of_the_user(module) else None


@functools.cache
def _is_of_the_user(module: types.ModuleType) -> bool:
    path = getattr(module, "__file__", None)
    if path is None:
        return module.__name__ == "__main__"
    return "site-packages" not in path and not path.startswith((sys.base_prefix, sys.prefix))
