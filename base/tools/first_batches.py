"""The first batches of a loader, the same in every pass."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

from base.data.limited import PartialLoader
from base.data.loader import find_divided_loader


class FirstBatches(PartialLoader):
    """Gives the first ``count`` batches of a loader, ``repeats`` times over, in every pass.

    Args:
        loader: of any kind.
        count: the number of batches to read.
        repeats: how often a pass yields them.

    Attributes:
        batches: the batches that were read; empty before the first pass.
        seconds: for every batch, the time until the next one was asked for.
    """

    def __init__(self, loader: Any, count: int, repeats: int = 1) -> None:
        super().__init__(loader, count)
        self.repeats = repeats
        self.batches: list[Any] = []
        self.seconds: list[float] = []

    def __len__(self) -> int:
        return self.repeats * super().__len__()

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
