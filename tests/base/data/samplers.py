"""Samplers and datasets that keep state for themselves."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, Dataset, IterableDataset, RandomSampler, Sampler

SHARED = np.random.default_rng(3)  # of this module


class Order(Sampler[int]):
    """Shuffles 10 samples with a generator of its own."""

    def __init__(self, kind: str = "torch") -> None:
        makers: dict[str, Any] = {
            "torch": lambda: torch.Generator().manual_seed(7),
            "numpy": lambda: np.random.default_rng(7),
            "legacy": lambda: np.random.RandomState(7),
            "python": lambda: random.Random(7),
            "nested": lambda: {"deep": [random.Random(7)]},
            "counter": lambda: None,
            "module": lambda: None,
            "system": random.SystemRandom,
        }
        self.kind, self.rng, self.passes = kind, makers[kind](), 0

    def __len__(self) -> int:
        return 10

    def __iter__(self) -> Iterator[int]:
        self.passes += 1
        if self.kind == "torch":
            return iter(torch.randperm(10, generator=self.rng).tolist())
        if self.kind in ("numpy", "legacy", "module"):
            return iter((SHARED if self.kind == "module" else self.rng).permutation(10).tolist())
        rng = self.rng["deep"][0] if self.kind == "nested" else self.rng
        rng = random.Random(self.passes) if self.kind == "counter" else rng
        return iter(rng.sample(range(10), 10))


class Stateful(Sampler[int]):
    """Saves its state by torchdata's protocol."""

    __slots__ = ("rounds",)

    def __init__(self) -> None:
        self.rounds = itertools.count()
        self.round = 0

    def __len__(self) -> int:
        return 10

    def __iter__(self) -> Iterator[int]:
        self.round += 1
        return iter(random.Random(self.round).sample(range(10), 10))

    def state_dict(self) -> dict[str, Any]:
        return {"round": self.round, "array": np.arange(2)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["array"].tolist() == [0, 1]
        self.round = state["round"]


class Endless(Sampler[int]):
    """Goes round and round with a generator of its own."""

    def __init__(self) -> None:
        self.rng = torch.Generator().manual_seed(7)

    def __len__(self) -> int:
        return 10

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from torch.randperm(10, generator=self.rng).tolist()


class Buckets(Sampler[list[int]]):
    """A batch sampler with batches of several sizes, and a length that is wrong or absent."""

    def __init__(self, length: int | None, n: int = 40, size: int = 4) -> None:
        self.length, self.n, self.size = length, n, size

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.n).tolist()
        for start in range(0, self.n, self.size):
            yield order[start : start + self.size]

    def __len__(self) -> int:
        if self.length is None:
            raise TypeError("unknown")
        return self.length


class Drawing(Dataset[Any]):
    """Draws from generators of its own; one of them is made by the first sample."""

    def __init__(self, n: int = 10) -> None:
        self.n = n
        self.rngs = [torch.Generator().manual_seed(7), np.random.default_rng(7), random.Random(7)]
        self.late: Any = None

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        if self.late is None:
            self.late = np.random.RandomState(1)
        drawn = torch.rand(2, generator=self.rngs[0]).tolist()
        drawn += [self.rngs[1].random(), self.rngs[2].random(), self.late.rand(), SHARED.random()]
        return index, torch.tensor(drawn)


class Stream(IterableDataset[Any]):
    """Shuffles with its own generator or with the shared ones."""

    def __init__(self, has_generator: bool = True, n: int = 10) -> None:
        self.rng = torch.Generator().manual_seed(7) if has_generator else None
        self.n = n

    def __iter__(self) -> Iterator[int]:
        rng = self.rng
        if rng is None:
            rng = torch.Generator().manual_seed(int(torch.empty((), dtype=torch.int64).random_()))
        return iter(torch.randperm(self.n, generator=rng).tolist())


def make_nested() -> BatchSampler:
    inner = RandomSampler(range(10), generator=torch.Generator().manual_seed(7))
    return BatchSampler(inner, 3, drop_last=False)
