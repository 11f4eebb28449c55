"""The order of the samples in an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

Array = np.ndarray[Any, Any]


class EpochSampler(Sampler[int]):
    """Gives the indices of a split in order, shuffled, or drawn by weights.

    ``generator`` provides the random numbers.

    Args:
        indices: the indices of the samples.
        shuffle: whether to draw a new order for every epoch.
        weights: the weights of the samples, shape ``(len(indices),)``. With weights,
            ``len(indices)`` samples are drawn with replacement.
    """

    def __init__(self, indices: range | Array, shuffle: bool, weights: Array | None = None) -> None:
        self.indices, self.shuffle = indices, shuffle
        self.generator = torch.Generator()
        self.cumulated_weights: torch.Tensor | None = None
        if weights is not None:
            self.cumulated_weights = torch.from_numpy(np.cumsum(weights) / np.sum(weights))

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.draw_order().tolist())

    def draw_order(self) -> Array:
        """Draws the indices of an epoch, shape ``(len(self),)``; a list would need more memory."""
        if isinstance(self.indices, range):
            indices = np.arange(self.indices.start, self.indices.stop, self.indices.step)
        else:
            indices = np.asarray(self.indices)
        if self.cumulated_weights is not None:
            drawn = torch.rand(len(indices), generator=self.generator, dtype=torch.float64)
            found = torch.searchsorted(self.cumulated_weights, drawn, right=True)
            indices = indices[found.clamp(max=len(indices) - 1).numpy()]
        elif self.shuffle:
            indices = indices[torch.randperm(len(indices), generator=self.generator).numpy()]
        return indices
