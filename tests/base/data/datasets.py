"""Datasets for the tests of data loaders, and the comparison of their batches."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset
from torchvision.transforms import v2

SCALE = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]


class Pictures(Dataset[Any]):
    """Stored pictures, which count how often they are read."""

    classes = ("a", "b")

    def __init__(
        self, transform: Any = None, channels: int = 3, sizes: tuple[int, ...] = (8,)
    ) -> None:
        self.transform = transform
        self.channels = channels
        self.sizes = sizes
        self.reads = 0

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        size = self.sizes[index % len(self.sizes)]
        shape = (size, 6, 3) if self.channels == 3 else (size, 6)
        values = np.random.RandomState(index).randint(0, 256, shape, dtype=np.uint8)
        picture = Image.fromarray(values)
        return (self.transform(picture) if self.transform else picture), index % 2


class Noisy(Dataset[Any]):
    """Augments with the random numbers of Python, NumPy and torch."""

    def __len__(self) -> int:
        return 22

    def __getitem__(self, index: int) -> Any:
        return index, random.random(), float(np.random.rand()), torch.rand(2)


class Stream(IterableDataset[Any]):
    """The numbers from 0 to ``n - 1``."""

    def __init__(self, n: int = 3) -> None:
        self.n = n

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.n))


def numbers(n: int = 10) -> TensorDataset:
    """Samples whose only value is their index."""
    return TensorDataset(torch.arange(n))


def list_indices(loader: Any) -> list[list[int]]:
    """The first values of each batch of one pass: the indices of the samples of ``numbers``."""
    return [batch[0].tolist() for batch in loader]


def list_values(loader: Any) -> list[Any]:
    """Everything in one pass, as plain values."""
    return [[torch.as_tensor(part).tolist() for part in batch] for batch in loader]


def batches(loader: Any) -> list[Any]:
    """All batches of one pass."""
    return [[tensor.clone() for tensor in batch] for batch in loader]


def are_equal(first: list[Any], second: list[Any]) -> bool:
    """Whether two passes gave the same bits."""
    return all(
        torch.equal(a, b) and a.dtype == b.dtype
        for x, y in zip(first, second, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def get_global_random_state() -> tuple[Any, ...]:
    """The states of the generators of Python, NumPy and torch, to compare."""
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
