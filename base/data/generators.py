"""Random generators of every kind: how their state is read, set, and made from a seed."""

from __future__ import annotations

import contextlib
import random
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from utils.seed import mix_seed


class Kind(NamedTuple):
    """How the state of a generator is read, set, and made from a seed."""

    get_state: Callable[[Any], Any]
    set_state: Callable[[Any, Any], Any]
    seed: Callable[[Any, int], Any]


def _set_bits(bits: Any, state: Any) -> None:
    bits.state = state


KINDS = {
    torch.Generator: Kind(
        lambda rng: rng.get_state(),
        lambda rng, state: rng.set_state(state),
        lambda rng, seed: rng.manual_seed(seed),
    ),
    random.Random: Kind(
        lambda rng: rng.getstate(),
        lambda rng, state: rng.setstate(state),
        lambda rng, seed: rng.seed(seed),
    ),
    np.random.RandomState: Kind(
        lambda rng: rng.get_state(legacy=False),
        lambda rng, state: rng.set_state(state),
        lambda rng, seed: rng.seed(seed % 2**32),
    ),
    np.random.BitGenerator: Kind(
        lambda bits: bits.state,
        _set_bits,
        lambda bits, seed: _set_bits(bits, type(bits)(seed).state),
    ),
}
GENERATORS = (*KINDS, np.random.Generator)


def _find_kind(generator: Any) -> tuple[Any, Kind]:
    """The object that holds the state of a generator, and its kind."""
    if isinstance(generator, np.random.Generator):
        generator = generator.bit_generator
    return generator, next(kind for base, kind in KINDS.items() if isinstance(generator, base))


def get_state(generator: Any) -> Any:
    """The state of a random generator.

    Raises:
        NotImplementedError: it has none, as ``random.SystemRandom``.
    """
    holder, kind = _find_kind(generator)
    return kind.get_state(holder)


def set_state(generator: Any, state: Any) -> None:
    """Restores what ``get_state`` gave."""
    holder, kind = _find_kind(generator)
    kind.set_state(holder, state)


def reseed(generators: Mapping[str, Any], seed: int) -> None:
    """Seeds each generator by ``seed`` and its path."""
    for path, generator in generators.items():
        holder, kind = _find_kind(generator)
        kind.seed(holder, mix_seed(seed, zlib.crc32(path.encode())))


@contextlib.contextmanager
def reseeded(generators: Mapping[str, Any], seed: int) -> Iterator[None]:
    """Seeds ``generators`` while the context lasts; afterwards they continue as before."""
    before = {}
    for path, generator in generators.items():
        with contextlib.suppress(NotImplementedError):
            before[path] = get_state(generator)
    reseed(generators, seed)
    try:
        yield
    finally:
        for path, state in before.items():
            set_state(generators[path], state)
