"""Saves the state of samplers and datasets: random generators, counters, and more."""

from __future__ import annotations

import contextlib
import itertools
import random
import types
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from base.data.epoch_sampler import EpochSampler
from base.data.generators import GENERATORS, get_state, reseed, set_state
from base.data.walk import FUNCTIONS, find_generators, find_user_module, walk

MAX_NUMEL = 10_000  # of an attribute of a sampler that is saved
MAX_ARRAY_NUMEL = 10_000_000  # of an array, a tensor, or a list of integers
RUNNING = (types.GeneratorType, itertools.chain, itertools.cycle, itertools.count, map, filter, zip)
SAMPLERS = ("sampler", "batch_sampler")
CONTAINERS = {kind.__name__: kind for kind in (list, tuple, set, deque)}

State = dict[str, Any]


class KeptState:
    """Saves and restores what the objects in ``roots`` keep from pass to pass.

    This is the state of random generators, of objects with ``state_dict`` and ``load_state_dict``,
    and of the plain attributes of samplers and their helpers, such as counters.

    Args:
        stream: the root that is a stream with a state of its own, which ``Snapshots`` saves.
        roots: the sampler, the dataset and the collate function, by name.
    """

    def __init__(self, stream: str | None = None, **roots: Any) -> None:
        self.stream = stream
        self.roots = {
            name: root for name, root in roots.items() if not isinstance(root, EpochSampler)
        }
        self._initial = self.capture()

    def list_unsaved_roots(self) -> dict[str, Any]:
        """The roots whose plain attributes are not saved: all but the samplers."""
        return {
            name: root
            for name, root in self.roots.items()
            if "sampler" not in name and name != self.stream
        }

    def capture(self) -> State:
        """The current state by path, as tensors and plain values."""
        state = {}
        for path, value in walk(self.roots):
            if self._is_left_out(path, value):
                continue
            with contextlib.suppress(TypeError, NotImplementedError):
                if is_stateful(value):
                    state[path] = _encode_state(value)
                if has_saved_attributes(path, value):
                    state |= _capture_attributes(path, value)
        return state

    def find_changes(self, state: State) -> State:
        """The entries of ``state`` that a new process could not know from its config."""
        return {
            path: value
            for path, value in state.items()
            if "@" not in path or not are_equal(value, self._initial.get(path))
        }

    def restore_changes(self, changes: State) -> None:
        """Restores what ``find_changes`` gave, and the initial value of every other attribute."""
        attributes = {path: value for path, value in self._initial.items() if "@" in path}
        self.restore(attributes | changes)

    def restore(self, state: State, root: str = "") -> None:
        """Restores what ``capture`` gave, for all roots or for the one named ``root``."""
        objects = dict(walk(self.roots))
        for path, value in sorted(state.items(), key=lambda item: "@" not in item[0]):
            name, _, attribute = path.partition("@")
            target = objects.get(name)
            if target is None or not path.startswith(root) or self._is_left_out(path, target):
                continue
            if attribute:
                setattr(target, attribute, decode(value))
            elif isinstance(target, GENERATORS):
                set_state(target, decode(value))
            else:
                target.load_state_dict(decode(value))

    def _is_left_out(self, path: str, value: Any) -> bool:
        """Whether another object saves it: the state of a stream, or the loader itself.

        A loader is found here if its collate function is one of its methods.
        """
        if isinstance(value, DataLoader) and path.endswith(".self"):
            return True
        is_of_stream = self.stream is not None and path.partition(".")[0] == self.stream
        return is_of_stream and not isinstance(value, GENERATORS)

    def reseed(self, seed: int) -> None:
        """Seeds all random generators."""
        reseed(find_generators(self.roots), seed)

    def list_unsaved(self) -> list[str]:
        """Describes the state that cannot be saved."""
        unsaved = []
        for path, value in walk(self.roots):
            owner = type(self.roots.get(path.partition(".")[0])).__name__
            name = path.partition(".")[2] or path
            if isinstance(value, RUNNING):
                unsaved.append(f"{owner} keeps a running iterator in `{name}`")
            elif isinstance(value, random.SystemRandom):
                unsaved.append(f"{owner} draws from the system's entropy in `{name}`")
            elif is_stateful(value) and not self._is_left_out(path, value):
                try:
                    _encode_state(value)
                except (TypeError, NotImplementedError) as error:
                    unsaved.append(f"{owner} has a state in `{name}` that is not plain: {error}")
        return unsaved


def is_stateful(value: Any) -> bool:
    """Whether a value is a random generator, or saves and restores its state itself."""
    if isinstance(value, GENERATORS):
        return True
    names = ("state_dict", "load_state_dict")
    is_plain = not isinstance(value, nn.Module | torch.optim.Optimizer | type)
    return is_plain and all(callable(getattr(value, name, None)) for name in names)


def has_saved_attributes(path: str, value: Any) -> bool:
    """Whether the plain attributes of an object are saved: of samplers, and of their helpers."""
    if isinstance(value, Sampler) or path in SAMPLERS:
        return True
    is_data = isinstance(value, (Dataset, nn.Module, type, *FUNCTIONS))
    is_inside = path.startswith(tuple(f"{name}." for name in SAMPLERS)) and not is_data
    return is_inside and find_user_module(type(value).__module__) is not None


def _encode_state(value: Any) -> Any:
    """The state of what ``is_stateful`` finds.

    Raises:
        TypeError, NotImplementedError: it cannot be saved.
    """
    return encode(get_state(value) if isinstance(value, GENERATORS) else value.state_dict())


def _capture_attributes(path: str, owner: Any) -> State:
    state = {}
    for name, value in getattr(owner, "__dict__", {}).items():
        if count_items(value) <= MAX_NUMEL or _is_long_array(value):
            with contextlib.suppress(TypeError):
                state[f"{path}@{name}"] = encode(value)
    return state


def _is_long_array(value: Any) -> bool:
    """Whether a value has many numbers, and is quick to save."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return count_items(value) <= MAX_ARRAY_NUMEL
    is_list = type(value) is list and len(value) <= MAX_ARRAY_NUMEL
    return is_list and all(type(item) is int for item in value)


def count_items(value: Any) -> int:
    """The number of values in a container, a tensor or an array; 1 for anything else."""
    if isinstance(value, torch.Tensor):
        return value.numel()
    if isinstance(value, np.ndarray):
        return value.size
    if isinstance(value, Mapping):
        value = list(value.values())[: MAX_NUMEL + 1]
    if isinstance(value, list | tuple | set | deque):
        if len(value) > MAX_NUMEL:
            return len(value)
        return 1 + sum(map(count_items, value))
    return 1


# -- plain values ---------------------------------------------------------------------------------


def encode(value: Any) -> Any:
    """Turns a state into tensors and plain values, which ``torch.load`` reads safely.

    Raises:
        TypeError: it holds anything else than numbers, texts, arrays, tensors and containers.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, np.ndarray):
        return {"kind": "array", "items": torch.from_numpy(value.copy())}
    if isinstance(value, np.generic):
        return value.item()
    if type(value) is list and len(value) > MAX_NUMEL and _is_long_array(value):
        with contextlib.suppress(OverflowError):  # more than 64 bits
            return {"kind": "integers", "items": torch.from_numpy(np.array(value, np.int64))}
    if type(value) in CONTAINERS.values():
        return {"kind": type(value).__name__, "items": [encode(item) for item in value]}
    if isinstance(value, dict):
        pairs = [[encode(key), encode(item)] for key, item in value.items()]
        return {"kind": "dict", "items": pairs}
    raise TypeError(f"it holds a {type(value).__name__}")


def decode(value: Any) -> Any:
    """Turns what ``encode`` gave back into the state."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if not isinstance(value, dict):
        return value
    kind, items = value["kind"], value["items"]
    if kind == "array":
        return items.numpy().copy()
    if kind == "integers":
        return items.tolist()
    if kind == "dict":
        return {decode(key): decode(item) for key, item in items}
    return CONTAINERS[kind](decode(item) for item in items)


def are_equal(a: Any, b: Any) -> bool:
    """Whether two encoded states are the same."""
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return type(a) is type(b) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(are_equal(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(are_equal, a, b))
    return type(a) is type(b) and bool(a == b)
