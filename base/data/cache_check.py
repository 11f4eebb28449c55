"""Refuses to cache a dataset that gives other samples when it is read again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from base.data.generators import reseeded
from base.data.kept_state import KeptState, are_equal, encode
from base.data.walk import call_set_epoch, find_generators
from utils.errors import UserError
from utils.seed import temporary_seed

NUM_PROBES = 64  # samples that are read again; some code is random in few of them
SEEDS = (1, 2)

Array = np.ndarray[Any, Any]


class CacheCheck:
    """Reads samples again, to compare them with a cache, and finds out if reading is random.

    Args:
        source: the dataset, before its samples are read.
        to_arrays: returns the components of a sample as arrays.
    """

    def __init__(self, source: Any, to_arrays: Callable[[Any], list[Array]]) -> None:
        self.source, self.to_arrays = source, to_arrays
        self.roots = {"dataset": source}
        self.kept = KeptState(**self.roots)
        self.before = self._get_state()

    def finish(self, arrays: list[Array]) -> None:
        """Checks the samples that were read into ``arrays``.

        Raises:
            UserError: the samples are random, or change with the epoch.
        """
        now = self._get_state()
        drawn_from = [key for key in now if not are_equal(now[key], self.before.get(key))]
        one, other = (self._read(len(self.source) - 1, seed)[1] for seed in SEEDS)
        # A dataset that seeds a generator itself leaves the same state after any seed.
        if any(not are_equal(one.get(key), other.get(key)) for key in drawn_from):
            reason = "draws random numbers when it reads a sample, outside of its `transform`"
            raise self._refuse(f" {reason}, and a cache would keep the first ones")
        if self._differs(arrays):
            reason = "does not give the same sample each time, and a cache would keep the first one"
            raise self._refuse(f" {reason}")
        if call_set_epoch(1, self.roots):
            differs = self._differs(arrays)
            call_set_epoch(0, self.roots)
            if differs:
                reason = "changes the samples, and a cache would keep the first ones"
                raise self._refuse(f".set_epoch {reason}")

    def _refuse(self, reason: str) -> UserError:
        advice = "do this in `transform` or `batch_transform`, or turn the cache off"
        return UserError(f"{type(self.source).__name__}{reason}: {advice}", key="cache")

    def _differs(self, arrays: list[Array]) -> bool:
        """Whether some samples are not those in ``arrays`` when they are read again."""
        last = len(self.source) - 1
        for index in sorted({last * probe // NUM_PROBES for probe in range(1, NUM_PROBES + 1)}):
            sample = self.to_arrays(self._read(index, SEEDS[1])[0])
            pairs = zip(sample, arrays, strict=True)
            if any(array.tobytes() != kept[index].tobytes() for array, kept in pairs):
                return True
        return False

    def _read(self, index: int, seed: int) -> tuple[Any, Any]:
        """A sample, and the random state after reading it, under random numbers from ``seed``."""
        generators = find_generators(self.roots)
        with temporary_seed(seed), reseeded(generators, seed):
            return self.source[index], self._get_state()

    def _get_state(self) -> dict[str, Any]:
        """The states of all random generators, and of the dataset, by name."""
        return {
            "python": encode(random.getstate()),
            "numpy": encode(np.random.get_state()),
            "torch": torch.get_rng_state(),
            **self.kept.capture(),
        }
