"""Random numbers: seeding a run, and moving its random state in and out of a checkpoint."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

_MASK = (1 << 64) - 1


def mix_seed(*parts: int) -> int:
    """Hashes integers to one of 63 bits, so that (seed, epoch, place) gives unrelated random streams.

    Source: the SplitMix64 finaliser, https://prng.di.unimi.it/splitmix64.c
    """
    state = 0
    for part in parts:
        state = (state + (part & _MASK) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def seed_everything(seed: int, deterministic: bool = True) -> None:
    """Seeds Python, NumPy and torch on every device.

    Args:
        seed: any non-negative integer.
        deterministic: also ask cuDNN for algorithms whose result does not change from run to run.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic


def seed_rank(seed: int, rank: int) -> None:
    """Lets the ranks that train together draw numbers of their own; the main one's stay as they are."""
    if rank:
        random.seed(mix_seed(seed, rank))
        np.random.seed(mix_seed(seed, rank) % 2**32)
        torch.manual_seed(mix_seed(seed, rank))


@contextlib.contextmanager
def temporary_seed(seed: int) -> Iterator[None]:
    """Python, NumPy and torch's CPU generator draw from ``seed`` inside, and go on as before afterwards."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators too
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def _accelerator() -> Any:
    """The module of the accelerator in use (``torch.cuda``, ``torch.mps``, …), or None."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return None if device is None else getattr(torch, device.type)


def get_random_state() -> dict[str, Any]:
    """All random states as tensors and plain values, fit for a checkpoint that loads without pickle."""
    python, numpy, accelerator = (
        random.getstate(),
        np.random.get_state(legacy=False),
        _accelerator(),
    )
    return {
        "python": [python[0], list(python[1]), python[2]],
        "numpy": numpy
        | {"state": {key: np.asarray(value).tolist() for key, value in numpy["state"].items()}},
        "torch": torch.get_rng_state(),
        "accelerator": None if accelerator is None else accelerator.get_rng_state(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restores what ``get_random_state`` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    accelerator = _accelerator()
    if accelerator is not None and state["accelerator"] is not None:
        accelerator.set_rng_state(state["accelerator"])
