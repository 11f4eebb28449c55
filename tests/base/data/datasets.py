"""Datasets for the tests of this folder, and the comparison of their batches."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset
from torchvision.transforms import v2

SCALE = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]


class Pictures(Dataset):
    """Stored pictures, which count how often they are read."""

    classes = ("a", "b")

    def __init__(self, transform=None, channels=3, sizes=(8,)):
        self.transform = transform
        self.channels = channels
        self.sizes = sizes
        self.reads = 0

    def __len__(self):
        return 20

    def __getitem__(self, index):
        self.reads += 1
        size = self.sizes[index % len(self.sizes)]
        shape = (size, 6, 3) if self.channels == 3 else (size, 6)
        values = np.random.RandomState(index).randint(0, 256, shape, dtype=np.uint8)
        picture = Image.fromarray(values)
        return (self.transform(picture) if self.transform else picture), index % 2


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(3))


def batches(loader):
    """All batches of one pass."""
    return [[tensor.clone() for tensor in batch] for batch in loader]


def are_equal(first, second):
    """Whether two passes gave the same bits."""
    return all(
        torch.equal(a, b) and a.dtype == b.dtype
        for x, y in zip(first, second, strict=True)
        for a, b in zip(x, y, strict=True)
    )
