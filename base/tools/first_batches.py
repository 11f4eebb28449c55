"""The first batches of a loader, the same in every pass."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

from base.data.loader import PositionedLoader, find_divided_loader
from utils.batch import num_batches


class FirstBatches(PositionedLoader):
    """Gives the first ``count`` batches of a loader, ``repeats`` times over, in every pass.

    It has the public attributes of the loader, because trainers of pytorch-template read
    ``n_samples``.

    Args:
        loader: of any kind.
        count: the number of batches to read.
        repeats: how often a pass yields them.

    Attributes:
        batches: the batches that were read; empty before the first pass.
        seconds: for every batch, the time until the next one was asked for.
    """

    def __init__(self, loader: Any, count: int, repeats: int = 1) -> None:
        attributes = getattr(loader, "__dict__", {}).items()
        vars(self).update((name, value) for name, value in attributes if not name.startswith("_"))
        self.loader = loader
        self.count = count
        self.repeats = repeats
        self.batch_size = getattr(loader, "batch_size", None)
        self.batches: list[Any] = []
        self.seconds: list[float] = []
        self._start_batch = 0

    def __len__(self) -> int:
        length = num_batches(self.loader)
        return self.repeats * (self.count if length is None else min(self.count, length))

    def __iter__(self) -> Iterator[Any]:
        if not self.batches:
            if (inner := find_divided_loader(self.loader)) is not None:
                inner.set_epoch(0)  # a resumed run sees the same batches
            self.batches = list(itertools.islice(self.loader, self.count))
        batches = list(itertools.chain.from_iterable([self.batches] * self.repeats))
        start_batch = self._start_batch
        self._start_batch = 0
        for batch in batches[start_batch:]:
            start = time.perf_counter()
            try:
                yield batch
            finally:
                self.seconds.append(time.perf_counter() - start)

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Sets the batch that the next pass starts with. Every epoch has the same batches."""
        self._start_batch = start_batch
