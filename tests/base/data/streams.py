"""Streams for tests: with and without a division and a state of their own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info


class Plain(IterableDataset[Any]):
    """The numbers from 0 to ``n - 1``, in the order of a shuffle by the shared generators."""

    def __init__(self, n: int = 40, shuffled: bool = False) -> None:
        self.n, self.shuffled = n, shuffled

    def __iter__(self) -> Iterator[Any]:
        order = list(range(self.n))
        if self.shuffled:
            random.shuffle(order)
        for number in order:
            yield number, random.random(), float(np.random.rand()), torch.rand(1)


class ByWorker(Plain):
    """Divides itself among workers."""

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        for number in range(first, self.n, step):
            yield number, random.random(), float(np.random.rand()), torch.rand(1)


class Sharded(Plain):
    """Has a method ``shard``, as HF datasets have.

    Args:
        n: the number of samples of all shards.
        numbers: those of this one; by default all.
    """

    def __init__(self, n: int = 40, numbers: range | None = None) -> None:
        super().__init__(n)
        self.numbers = range(n) if numbers is None else numbers

    def shard(self, num_shards: int, index: int) -> Sharded:
        return type(self)(self.n, self.numbers[index::num_shards])

    def __iter__(self) -> Iterator[Any]:
        for number in self.numbers:
            yield number, random.random(), float(np.random.rand()), torch.rand(1)


class Uneven(Sharded):
    """Its first shard has all samples but the last three."""

    def shard(self, num_shards: int, index: int) -> Sharded:
        if len(self.numbers) < self.n:
            return super().shard(num_shards, index)
        end = self.n - 3
        return Uneven(self.n, range(end) if index == 0 else range(end, self.n))


class Stateful(ByWorker):
    """Saves its position by torchdata's protocol, and keeps a generator that this leaves out.

    Args:
        n: the number of samples.
        shared: whether it ignores that there are workers.
        kind: of an entry of the state that cannot be saved.
    """

    def __init__(self, n: int = 40, shared: bool = False, kind: Any = None) -> None:
        super().__init__(n)
        self.shared, self.kind = shared, kind
        self.generator = random.Random(3)
        self.epoch = self.reads = 0
        self.done = 0
        self.resumed: int | None = None

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        state = {"done": self.done, "array": np.arange(2)}
        return state if self.kind is None else state | {"kind": self.kind}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.resumed = state["done"]

    def __iter__(self) -> Iterator[Any]:
        info = None if self.shared else get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        order = np.random.default_rng(self.epoch).permutation(self.n)[first::step].tolist()
        self.done, self.resumed = self.resumed or 0, None
        for number in order[self.done :]:
            self.reads += 1
            self.done += 1
            drawn = self.generator.random() + random.random() + float(np.random.rand())
            yield number, drawn, torch.rand(1)


class Counting(IterableDataset[Any]):
    """Is its own iterator, and saves its position as a number of samples, as litdata does.

    Args:
        n: the number of samples.
    """

    def __init__(self, n: int = 40) -> None:
        self.n, self.reads, self.batch_size = n, 0, 1
        self.state: dict[str, int] | None = None
        self.numbers: Iterator[int] = iter(())

    def set_batch_size(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def state_dict(
        self, num_samples_yielded: int, num_workers: int, batch_size: int
    ) -> dict[str, int]:
        return {"samples": num_samples_yielded, "batch_size": batch_size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        assert state["batch_size"] == self.batch_size
        self.state = state

    def reset_state_dict(self) -> None:
        self.state = None

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        numbers = list(range(self.n))[first::step]
        if self.state is not None:  # workers take turns with batches
            batches, rest = divmod(self.state["samples"], self.batch_size)
            done = self.batch_size * len(range(first, batches, step))
            numbers = numbers[done + (rest if batches % step == first else 0) :]
        self.numbers = iter(numbers)
        return self

    def __next__(self) -> int:
        self.reads += 1
        return next(self.numbers)


class ItemBatches(IterableDataset[Any]):
    """``n`` items that are batches of two equal numbers."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[torch.Tensor]:
        for number in range(self.n):
            yield torch.tensor([number, number])
