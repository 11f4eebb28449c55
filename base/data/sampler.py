"""Which samples make which batch: a function of (seed, epoch, batch), so runs resume anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import BatchSampler, Sampler

from utils.distributed import rank, world_size
from utils.seed import mix_seed, temporary_seed

Array = np.ndarray[Any, Any]

# Streams of random numbers: for the order of samples, their augmentation, and whole batches.
ORDER_STREAM, SAMPLE_STREAM, BATCH_STREAM = 0, 1, 2


class Position(NamedTuple):
    """A place in the data: the number of a pass over it, and of a batch in this pass, from 0."""

    epoch: int
    batch: int


class BatchIndices(list[int]):
    """The indices of one batch, and the seed for the random numbers of its augmentation."""

    def __init__(self, indices: Iterable[int], seed: int) -> None:
        super().__init__(indices)
        self.seed = seed


class EpochSampler(Sampler[int]):
    """The samples of one split, in order, shuffled or drawn, by its own ``generator``.

    Args:
        indices: of the samples; a range stands for all of a dataset.
        shuffle: a new order for every epoch.
        weights: of the samples, shape ``(len(indices),)``; as many as there are samples are then
            drawn with replacement.
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
        """The indices of an epoch, shape ``(len(self),)``; an array takes little memory."""
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


class EpochBatchSampler(Sampler[BatchIndices]):
    """The batches of an epoch, from any batch on. Skipping batches reads no data.

    Each rank gets its part of each batch; the parts together are the batch, whatever the number of
    ranks. Any sampler (``WeightedRandomSampler``, a project's own) runs under random numbers that
    depend on (seed, epoch) only, and the global ones stay as they were.

    Args:
        sampler: gives indices, or lists of indices if ``batch_size`` is None.
        batch_size: samples of a batch, of all ranks together.
        drop_last: leave out a last batch that is smaller.

    Attributes:
        seed: of the run.
        start: where the next iteration begins.
        in_lockstep: every rank gets something of every batch, as the ranks train in lockstep. Where
            a batch has fewer samples than there are ranks, a rank gets another rank's sample as a
            filler, whose ``loss_weight`` is 0.
    """

    def __init__(self, sampler: Any, batch_size: int | None, drop_last: bool, seed: int) -> None:
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last
        self.seed = seed
        self.start = Position(0, 0)
        self.in_lockstep = True
        self._loss_weights: dict[int, float] = {}

    def __len__(self) -> int:
        if self.batch_size is None:
            return len(self.sampler)
        return len(BatchSampler(self.sampler, self.batch_size, self.drop_last))

    def __iter__(self) -> Iterator[BatchIndices]:
        (epoch, start), size = self.start, self.batch_size
        order = self._draw_order(epoch)
        this_rank, ranks = rank(), world_size()
        self._loss_weights = {}
        for number in range(start, len(self)):
            batch = order[number] if size is None else order[number * size : (number + 1) * size]
            part = batch[len(batch) * this_rank // ranks : len(batch) * (this_rank + 1) // ranks]
            self._loss_weights[number] = ranks * len(part) / max(1, len(batch))
            if len(part) or self.in_lockstep:
                indices = part if len(part) else batch[:1]
                indices = indices.tolist() if isinstance(indices, np.ndarray) else indices
                stream = (epoch, SAMPLE_STREAM, number, *([this_rank] if this_rank else []))
                yield BatchIndices(indices, mix_seed(self.seed, *stream))

    def loss_weight(self, batch: int) -> float:
        """The size of this rank's part of a batch, divided by the mean size of all parts."""
        return self._loss_weights.get(batch, 1.0)

    def list_batches(self) -> list[list[int]]:
        """This rank's indices of all batches of the epoch that ``start`` names."""
        full = EpochBatchSampler(self.sampler, self.batch_size, self.drop_last, self.seed)
        full.start = Position(self.start.epoch, 0)
        full.in_lockstep = self.in_lockstep
        return [list(batch) for batch in full]

    def _draw_order(self, epoch: int) -> Any:
        seed = mix_seed(self.seed, epoch, ORDER_STREAM)
        if hasattr(self.sampler, "set_epoch"):  # a sampler of torch's or of the project's own
            self.sampler.set_epoch(epoch)
        if isinstance(generator := getattr(self.sampler, "generator", None), torch.Generator):
            generator.manual_seed(seed)
        if isinstance(self.sampler, EpochSampler):
            return self.sampler.draw_order()
        with temporary_seed(seed):
            return list(self.sampler)
