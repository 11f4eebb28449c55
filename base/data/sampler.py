"""The samples of every batch: a function of (seed, epoch, batch), so that runs resume anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, Sampler

from base.data.order import Batches, BatchFacts, Position, iterate_batches
from utils.distributed import rank, world_size
from utils.seed import mix_seed

# Streams of random numbers: for the order of samples, for their augmentation, for the transforms
# of full batches, and for ``set_epoch`` and generators at the start of a pass.
ORDER_STREAM, SAMPLE_STREAM, BATCH_STREAM, PASS_STREAM = 0, 1, 2, 3


class BatchIndices(list[int]):
    """The indices of one batch, and the seed for the random numbers of its augmentation."""

    def __init__(self, indices: Iterable[int], seed: int) -> None:
        super().__init__(indices)
        self.seed = seed


class EpochBatchSampler(Sampler[BatchIndices]):
    """Gives the batches of an epoch, starting at any sample. Skipping samples reads no data.

    Each rank gets its part of each batch. A sampler of any class draws random numbers that depend
    only on (seed, epoch). So the order of the samples does not depend on the number of ranks.

    Args:
        sampler: gives indices, or lists of indices if ``batch_size`` is None. The epoch ends when
            the sampler does; its length may be an estimate.
        batch_size: the number of samples in a batch, over all ranks.
        drop_last: leave out the last batch if it is smaller.
        seed: the seed of the run.

    Attributes:
        start: the position at which the next iteration begins.
        count: the number of batches that the epoch has given, over all ranks.
        in_lockstep: whether every rank gets every batch. If a batch has no sample for a rank, the
            rank gets a sample of another rank as a filler, with a ``loss_weight`` of 0.
    """

    def __init__(self, sampler: Any, batch_size: int | None, drop_last: bool, seed: int) -> None:
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last
        self.seed = seed
        self.start = Position(0, 0)
        self.count = 0
        self.in_lockstep = True
        self._facts: dict[int, BatchFacts] = {}  # of the batches that nobody has taken yet

    def __len__(self) -> int:
        if self.batch_size is None:
            return len(self.sampler)
        return len(BatchSampler(self.sampler, self.batch_size, self.drop_last))

    def __iter__(self) -> Iterator[BatchIndices]:
        epoch, first, _ = self.start
        this_rank, ranks = rank(), world_size()
        rank_stream = [this_rank] if this_rank > 0 else []  # rank 0 reads like a single process
        self._facts, self.count, given = {}, first, first
        for number, (batch, samples, left) in enumerate(self._draw_batches(), first):
            part = batch[len(batch) * this_rank // ranks : len(batch) * (this_rank + 1) // ranks]
            weight = ranks * len(part) / max(1, len(batch))
            self.count = number + 1
            if len(part) or self.in_lockstep:
                indices = part if len(part) else batch[:1]
                indices = indices.tolist() if isinstance(indices, np.ndarray) else indices
                seed = mix_seed(self.seed, epoch, SAMPLE_STREAM, number, *rank_stream)
                self._facts[given] = BatchFacts(weight, samples, left, len(part))
                given += 1
                yield BatchIndices(indices, seed)

    def take(self, batch: int) -> BatchFacts:
        """Returns the facts of a batch, and forgets them: an epoch may have no end."""
        return self._facts.pop(batch, BatchFacts())

    def _draw_batches(self) -> Batches:
        seed = mix_seed(self.seed, self.start.epoch, ORDER_STREAM)
        generator = getattr(self.sampler, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed)
        return iterate_batches(self.sampler, self.batch_size, self.drop_last, seed, self.start)
