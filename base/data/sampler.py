"""Which samples make which batch: a function of (seed, epoch, batch), so runs resume anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import BatchSampler, Sampler

from base.data.epoch_sampler import EpochSampler
from utils.distributed import rank, world_size
from utils.seed import mix_seed, temporary_seed

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
