"""Random numbers: seeds, and the random state that goes into a checkpoint and back."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch

_MASK_64_BITS = (1 << 64) - 1
_SHARED_SEEDS: dict[int, int] = {}  # the seed of a run, by that of a rank


def mix_seed(*values: int) -> int:
    """Hashes integers to one of 63 bits.

    Neighbouring values, as in (seed, epoch, batch_idx), give unrelated streams of random numbers.

    Source: the SplitMix64 finaliser, https://prng.di.unimi.it/splitmix64.c
    """
    state = 0
    for value in values:
        state = (state + (value & _MASK_64_BITS) + 0x9E3779B97F4A7C15) & _MASK_64_BITS
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64_BITS
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK_64_BITS
        state ^= state >> 31
    return state >> 1


def seed_everything(seed: int, deterministic: bool = True) -> None:
    """Seeds Python, NumPy and torch on every device.

    Args:
        seed: any non-negative integer.
        deterministic: also make torch choose algorithms that give the same result in every run.
            An operation that has none gives a warning.
    """
    _seed_all(seed)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
    if deterministic:  # cuBLAS reads this once, when it starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # use_deterministic_algorithms does the same, but imports torch's compiler, which takes 1 s.
    torch.set_deterministic_debug_mode("warn" if deterministic else "default")
    # Filling new tensors with NaN would find reads of undefined memory, and takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextlib.contextmanager
def seeding_rank(seed: int, rank: int) -> Iterator[None]:
    """Gives each rank its own random numbers when the context ends. Those of rank 0 stay.

    What is made inside, such as a second network or loader, begins alike on all ranks.
    """
    yield
    if rank:
        rank_seed = mix_seed(seed, rank)
        _SHARED_SEEDS[rank_seed] = seed
        _seed_all(rank_seed)


def get_shared_seed() -> int:
    """The seed that torch had before ``seeding_rank`` ended: the same one on all ranks."""
    seed = torch.initial_seed() % 2**63
    return _SHARED_SEEDS.get(seed, seed)


def _seed_all(seed: int) -> None:
    seed_cpu(seed)
    torch.manual_seed(seed)  # on all devices


def seed_cpu(seed: int) -> None:
    """Seeds Python, NumPy and torch's CPU generator."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the accelerators too


class RandomStream:
    """Random numbers of Python, NumPy and torch's CPU generator that nothing else draws from.

    Inside ``with stream.drawing()``, the numbers continue where the last such block ended. Outside,
    they continue as if nothing had been drawn.

    Args:
        seed: of the first block.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._state: tuple[Any, ...] | None = None

    @contextlib.contextmanager
    def drawing(self) -> Iterator[None]:
        """The context in which numbers are drawn from this stream."""
        outside = get_cpu_state()
        if self._state is None:
            seed_cpu(self._seed)
        else:
            set_cpu_state(self._state)
        try:
            yield
            self._state = get_cpu_state()
        finally:
            set_cpu_state(outside)


def get_cpu_state() -> tuple[Any, ...]:
    """The states of the generators of Python, NumPy and torch on the CPU."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def set_cpu_state(state: tuple[Any, ...]) -> None:
    """Restores what ``get_cpu_state`` has returned."""
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])


@contextlib.contextmanager
def temporary_seed(seed: int) -> Iterator[None]:
    """Seeds Python, NumPy and torch's CPU generator while the context lasts.

    Afterwards they continue as if nothing had been drawn.
    """
    outside = get_cpu_state()
    seed_cpu(seed)
    try:
        yield
    finally:
        set_cpu_state(outside)


def _get_accelerator_module() -> ModuleType | None:
    """torch's module for the accelerators (``torch.cuda``, ``torch.mps``, …).

    It is None if there is none, or if this process has not used it: reading its random state would
    start it, which takes memory there.
    """
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        return None
    module = torch.get_device_module(device)
    is_initialized = getattr(module, "is_initialized", lambda: True)
    return module if is_initialized() else None


def _get_accelerator_states() -> dict[str, Any] | None:
    """The random states of all accelerators, and the name of torch's module for them."""
    module = _get_accelerator_module()
    if module is None:
        return None
    get_all = getattr(module, "get_rng_state_all", None)  # not for MPS, which has one device
    states = [module.get_rng_state()] if get_all is None else get_all()
    return {"module": module.__name__, "states": states}


def _set_accelerator_states(saved: dict[str, Any] | None) -> None:
    """Restores the states of the accelerators that are still there."""
    module = _get_accelerator_module()
    if module is None or saved is None or saved["module"] != module.__name__:
        return
    set_all = getattr(module, "set_rng_state_all", None)
    if set_all is None:
        module.set_rng_state(saved["states"][0])
    else:
        set_all(saved["states"][: module.device_count()])


def get_random_state() -> dict[str, Any]:
    """All random states as tensors and plain values, which ``torch.load`` reads safely.

    ``accelerators`` holds the states of all devices of one kind, for models on several of them.
    """
    version, words, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)
    generator = {key: np.asarray(value).tolist() for key, value in numpy["state"].items()}
    return {
        "python": [version, list(words), gauss],
        "numpy": numpy | {"state": generator},
        "torch": torch.get_rng_state(),
        "accelerators": _get_accelerator_states(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restores what ``get_random_state`` has returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    _set_accelerator_states(state.get("accelerators"))  # absent in older checkpoints
