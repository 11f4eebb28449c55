"""Random numbers: seeding a run, and moving its random state in and out of a checkpoint."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

_MASK = (1 << 64) - 1


def mix(*parts: int) -> int:
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


def seed_host(seed: int) -> None:
    """Seeds Python, NumPy and torch's CPU generator; accelerators keep their state."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


def host_random_state() -> tuple[Any, ...]:
    """The states that ``seed_host`` overwrites, to give back by ``set_host_random_state``."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def set_host_random_state(state: tuple[Any, ...]) -> None:
    """Undoes ``seed_host``."""
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])


def random_state() -> dict[str, Any]:
    """All random states as tensors and plain values, fit for a checkpoint that loads without pickle."""
    python, numpy = random.getstate(), np.random.get_state()
    assert isinstance(numpy, tuple)
    state: dict[str, Any] = {
        "python": [python[0], list(python[1]), python[2]],
        "numpy": [numpy[0], [int(word) for word in numpy[1]], int(numpy[2]), int(numpy[3]), float(numpy[4])],
        "torch": torch.get_rng_state(),
    }
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is not None:
        states = getattr(torch, accelerator.type).get_rng_state
        devices = range(torch.accelerator.device_count())
        state["accelerator"] = [states(device) for device in devices] if accelerator.type != "mps" else [states()]
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Restores what ``random_state`` returned."""
    python = state["python"]
    random.setstate((python[0], tuple(python[1]), python[2]))
    name, words, *rest = state["numpy"]
    np.random.set_state((name, np.array(words, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is not None:
        restore = getattr(torch, accelerator.type).set_rng_state
        for device, device_state in enumerate(state.get("accelerator", [])):
            restore(device_state) if accelerator.type == "mps" else restore(device_state, device)
