"""Lists what the attributes of a trainer hold: containers, functions and a project's objects."""

from __future__ import annotations

import functools
import sys
import types
from collections import UserList, deque
from collections.abc import Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset, Sampler

from base.data.loader import PositionedLoader
from base.data.walk import find_user_module, list_attributes, list_references
from base.loop.update import Update
from utils.util import MetricTracker

STATEFUL_TYPES = (Optimizer, LRScheduler, nn.Module, torch.amp.GradScaler, Update)
# Something else saves these, or a resumed run makes them again.
SAVED_ELSEWHERE = (
    "model",
    "optimizer",
    "data_loader",
    "valid_data_loader",
    "metric_ftns",
    "config",
)
LEAVES = (MetricTracker, DataLoader, Dataset, Sampler, PositionedLoader)  # are not searched
# Objects of these packages are not searched.
FRAMEWORK = {"base", "config", "logger", "utils", "data_loader", "torch", "numpy", "torchvision"}
MAX_DEPTH = 6
MAX_ITEMS = 1000  # a longer container holds data, and no objects with a state


def _is_of_project(item: Any) -> bool:
    """Whether the class of an object is the user's own, and no library has made it."""
    module = type(item).__module__
    package = module.partition(".")[0]
    file = str(getattr(sys.modules.get(module), "__file__", ""))
    if isinstance(item, SimpleNamespace):
        return True
    is_of_library = package in FRAMEWORK or package in sys.stdlib_module_names
    return not is_of_library and "-packages" not in file and not isinstance(item, type)


def _is_function_of_project(item: Any) -> bool:
    if not isinstance(item, types.FunctionType) or find_user_module(item.__module__) is None:
        return False
    return item.__module__.partition(".")[0] not in FRAMEWORK


def list_items(name: str, item: Any) -> Iterator[tuple[str, Any]]:
    """The items of a container, or the attributes of a project's object."""
    pairs: Iterable[tuple[Any, Any]]
    if isinstance(item, Mapping):
        pairs = _list_pairs(item) if len(item) <= MAX_ITEMS else ()
    elif isinstance(item, list | tuple | deque | UserList):
        names = getattr(item, "_fields", range(len(item)))
        pairs = zip(names, item, strict=True) if len(item) <= MAX_ITEMS else ()
    elif isinstance(item, functools.partial | types.MethodType) or _is_function_of_project(item):
        pairs = list_references(item)
    elif isinstance(item, np.ndarray):
        pairs = enumerate(item.flat) if item.dtype.hasobject and item.size <= MAX_ITEMS else ()
    elif _is_of_project(item) and not isinstance(item, LEAVES):
        pairs = list_attributes(item).items()
    else:
        return
    for key, value in list(pairs):
        if not isinstance(value, int | float | str | bytes | torch.Tensor | None):
            yield f"{name}.{key}", value


def _list_pairs(mapping: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """The values of a mapping, and the keys that are objects. Those have numbers as names."""
    for number, (key, value) in enumerate(mapping.items()):
        # A text with an address is another one in the next run.
        has_name = not isinstance(key, STATEFUL_TYPES) and " at 0x" not in str(key)
        yield (key if has_name else number), value
        if not has_name:
            yield f"keys.{number}", key
