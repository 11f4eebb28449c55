"""The samples of every batch: a function of (seed, epoch, batch), so that runs resume anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import BatchSampler, Sampler

from base.data.epoch_sampler import EpochSampler
from utils.distributed import rank, world_size
from utils.seed import mix_seed, temporary_seed

# Streams of random numbers: for the order of samples, their augmentation, and full batches.
ORDER_STREAM, SAMPLE_STREAM, BATCH_STREAM = 0, 1, 2


class Position(NamedTuple):
    """A position in the data: the number of a pass over it, and a number of batches in it."""

    epoch: int
    batch: int


class BatchIndices(list[int]):
    """The indices of one batch, and the seed for the random numbers of its augmentation."""

    def __init__(self, indices: Iterable[int], seed: int) -> None:
        super().__init__(indices)
        self.seed = seed


class EpochBatchSampler(Sampler[BatchIndices]):
    """Gives the batches of an epoch, starting at any batch. Skipping batches reads no data.

    Each rank gets its part of each batch. A sampler of any class draws random numbers that depend
    only on (seed, epoch). So the order of the samples does not depend on the number of ranks.

    Args:
        sampler: gives indices, or lists of indices if ``batch_size`` is None.
        batch_size: the number of samples in a batch, over all ranks.
        drop_last: leave out the last batch if it is smaller.
        seed: the seed of the run.

    Attributes:
        start: the position at which the next iteration begins.
        in_lockstep: whether every rank gets every batch. If a batch has no sample for a rank, the
            rank gets a sample of another rank as a filler, with a ``loss_weight`` of 0.
    """

    def __init__(self, sampler: Any, batch_size: int | None, drop_last: bool, seed: int) -> None:
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last
        self.seed = seed
        self.start = Position(0, 0)
        self.in_lockstep = True
        self._loss_weights: dict[int, float] = {}
        self._sizes: dict[int, int] = {}

    def __len__(self) -> int:
        if self.batch_size is None:
            return len(self.sampler)
        return len(BatchSampler(self.sampler, self.batch_size, self.drop_last))

    def __iter__(self) -> Iterator[BatchIndices]:
        epoch, start = self.start
        size = self.batch_size
        order = self._draw_order(epoch)
        this_rank, ranks = rank(), world_size()
        rank_stream = [this_rank] if this_rank > 0 else []  # rank 0 reads like a single process
        self._loss_weights, self._sizes = {}, {}
        for number in range(start, len(self)):
            batch = order[number] if size is None else order[number * size : (number + 1) * size]
            part = batch[len(batch) * this_rank // ranks : len(batch) * (this_rank + 1) // ranks]
            self._loss_weights[number] = ranks * len(part) / max(1, len(batch))
            if len(part) or self.in_lockstep:
                indices = part if len(part) else batch[:1]
                indices = indices.tolist() if isinstance(indices, np.ndarray) else indices
                seed = mix_seed(self.seed, epoch, SAMPLE_STREAM, number, *rank_stream)
                self._sizes[start + len(self._sizes)] = len(part)
                yield BatchIndices(indices, seed)

    def loss_weight(self, batch: int) -> float:
        """The size of this rank's part of a batch, divided by the mean size of all parts."""
        return self._loss_weights.get(batch, 1.0)

    def num_samples(self, batch: int) -> int | None:
        """The number of samples in a batch that this rank has been given, counted from 0."""
        return self._sizes.get(batch)

    def list_batches(self) -> list[list[int]]:
        """Lists this rank's indices in every batch of the epoch at ``start``."""
        full = EpochBatchSampler(self.sampler, self.batch_size, self.drop_last, self.seed)
        full.start = Position(self.start.epoch, 0)
        full.in_lockstep = self.in_lockstep
        return [list(batch) for batch in full]

    def _draw_order(self, epoch: int) -> Any:
        seed = mix_seed(self.seed, epoch, ORDER_STREAM)
        if hasattr(self.sampler, "set_epoch"):  # a sampler of torch or of the project
            self.sampler.set_epoch(epoch)
        generator = getattr(self.sampler, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed)
        if isinstance(self.sampler, EpochSampler):
            return self.sampler.draw_order()
        with temporary_seed(seed):
            return list(self.sampler)
