"""State that samplers and datasets keep for themselves: random generators, counters, and more."""

from __future__ import annotations

import contextlib
import itertools
import random
import types
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Sampler

from base.data.epoch_sampler import EpochSampler
from base.data.walk import Generators, find_generators, walk
from utils.seed import mix_seed

MAX_NUMEL = 10_000  # of an attribute of a sampler that is saved
RUNNING = (types.GeneratorType, itertools.chain, itertools.cycle, itertools.count, map, filter, zip)
CONTAINERS = {kind.__name__: kind for kind in (list, tuple, set, deque)}

State = dict[str, Any]


class KeptState:
    """What the objects in ``roots`` keep from pass to pass, to save and restore it.

    That is the state of random generators, of objects with ``state_dict`` and ``load_state_dict``,
    and of the plain attributes of samplers, such as counters.

    Args:
        roots: the sampler, the dataset and the collate function, by name.
    """

    def __init__(self, **roots: Any) -> None:
        self.roots = {
            name: root for name, root in roots.items() if not isinstance(root, EpochSampler)
        }
        self._initial = self.capture()

    def list_unsaved_roots(self) -> dict[str, Any]:
        """The roots whose plain attributes are not saved: all but the samplers."""
        return {name: root for name, root in self.roots.items() if "sampler" not in name}

    def capture(self) -> State:
        """The current state by path, as tensors and plain values."""
        state = {}
        for path, value in walk(self.roots):
            with contextlib.suppress(TypeError, NotImplementedError):
                if isinstance(value, Generators):
                    state[path] = encode(get_generator_state(value))
                elif has_state(value):
                    state[path] = encode(value.state_dict())
                if isinstance(value, Sampler) or path in ("sampler", "batch_sampler"):
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
        """Restores what ``find_changes`` gave; everything else becomes as it was at first."""
        at_first = {path: value for path, value in self._initial.items() if "@" in path}
        self.restore(at_first | changes)

    def restore(self, state: State, root: str = "") -> None:
        """Restores what ``capture`` gave, for all roots or for the one named ``root``."""
        objects = dict(walk(self.roots))
        for path, value in sorted(state.items(), key=lambda item: "@" not in item[0]):
            name, _, attribute = path.partition("@")
            target = objects.get(name)
            if target is None or not path.startswith(root):
                continue
            if attribute:
                setattr(target, attribute, decode(value))
            elif isinstance(target, Generators):
                set_generator_state(target, decode(value))
            else:
                target.load_state_dict(decode(value))

    def reseed(self, seed: int) -> None:
        """Seeds all random generators."""
        for path, generator in find_generators(self.roots).items():
            seed_generator(generator, mix_seed(seed, zlib.crc32(path.encode())))

    def find_lost(self) -> list[str]:
        """Descriptions of what cannot be restored."""
        lost = []
        for path, value in walk(self.roots):
            owner = type(self.roots.get(path.partition(".")[0])).__name__
            name = path.partition(".")[2] or path
            if isinstance(value, RUNNING):
                lost.append(f"{owner} keeps a running iterator in `{name}`")
            elif isinstance(value, random.SystemRandom):
                lost.append(f"{owner} draws from the system's entropy in `{name}`")
            elif isinstance(value, Generators) or has_state(value):
                try:
                    state = value if isinstance(value, Generators) else value.state_dict()
                    encode(get_generator_state(state) if state is value else state)
                except (TypeError, NotImplementedError) as error:
                    lost.append(f"{owner} has a state in `{name}` that is not plain: {error}")
        return lost


def has_state(value: Any) -> bool:
    """Whether an object saves and restores its state itself."""
    names = ("state_dict", "load_state_dict")
    is_plain = not isinstance(value, nn.Module | torch.optim.Optimizer | type)
    return is_plain and all(callable(getattr(value, name, None)) for name in names)


def _capture_attributes(path: str, owner: Any) -> State:
    state = {}
    for name, value in getattr(owner, "__dict__", {}).items():
        if isinstance(value, Generators) or count_items(value) > MAX_NUMEL:
            continue
        with contextlib.suppress(TypeError):
            state[f"{path}@{name}"] = encode(value)
    return state


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


# -- random generators ----------------------------------------------------------------------------


def get_generator_state(generator: Any) -> Any:
    """The state of a random generator of any kind.

    Raises:
        NotImplementedError: it has none, as ``random.SystemRandom``.
    """
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    bits = getattr(generator, "bit_generator", generator)
    return bits.state


def set_generator_state(generator: Any, state: Any) -> None:
    """Restores what ``get_generator_state`` gave."""
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(state)
    else:
        bits = getattr(generator, "bit_generator", generator)
        bits.state = state


def seed_generator(generator: Any, seed: int) -> None:
    """Seeds a random generator of any kind."""
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, random.Random):
        generator.seed(seed)
    elif isinstance(generator, np.random.RandomState):
        generator.seed(seed % 2**32)
    else:
        bits = getattr(generator, "bit_generator", generator)
        bits.state = type(bits)(seed).state


@contextlib.contextmanager
def reseeded(generators: Mapping[str, Any], seed: int) -> Iterator[None]:
    """Seeds ``generators`` while the context lasts; afterwards they continue as before."""
    before = {}
    for path, generator in generators.items():
        with contextlib.suppress(NotImplementedError):
            before[path] = get_generator_state(generator)
        seed_generator(generator, mix_seed(seed, zlib.crc32(path.encode())))
    try:
        yield
    finally:
        for path, state in before.items():
            set_generator_state(generators[path], state)


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
