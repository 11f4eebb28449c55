"""Reads the batches of an iterable dataset, from any position on."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from itertools import islice
from math import ceil
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, IterableDataset, default_collate, get_worker_info

from base.data.order import BatchFacts, Position, count_batches, get_length
from base.data.reader import Pass, Reader
from base.data.sampler import SAMPLE_STREAM
from base.data.worker import WorkerLoader
from utils.seed import RandomStream, mix_seed

END = object()


class StreamReader(Reader):
    """Reads an iterable dataset. It finds a position by reading everything before it.

    Args:
        dataset: iterable.
        batch_size: the number of samples in a batch; None if the dataset gives batches.
        options: of the DataLoader.
    """

    def __init__(self, dataset: Any, batch_size: int | None, options: dict[str, Any]) -> None:
        collate_fn = options["collate_fn"]
        if batch_size is not None:
            options = options | {"collate_fn": CountingCollate(collate_fn or default_collate)}
        loader = WorkerLoader(dataset, batch_size=batch_size, **options)
        super().__init__(loader, batch_size, dataset=dataset, collate_fn=collate_fn)
        self.dataset, self.options = dataset, options
        self.n_samples = get_length(dataset) or 0
        self._skipped: tuple[Position, list[int]] | None = None  # the samples of each worker

    def __len__(self) -> int:  # torch's would warn if the length is an estimate
        size = self.batch_size
        drop_last = bool(self.options.get("drop_last"))
        n_samples = len(self.dataset)
        return n_samples if size is None else count_batches(n_samples, size, drop_last)

    def read(self, start: Position, seed: int) -> Pass:
        """Yields the batches. In this process, the dataset draws from a stream of random numbers.

        So neither training nor skipping changes what the dataset draws.
        """
        self.begin_pass(start.epoch, seed)
        stream = RandomStream(mix_seed(seed, start.epoch, SAMPLE_STREAM))
        in_stream: Any = contextlib.nullcontext if self.loader.num_workers else stream.drawing
        loader, n_skipped = self._open(start)
        with in_stream():
            batches = iter(loader)
            for _ in range(n_skipped):
                next(batches, None)
        size = self.batch_size
        samples = start.batch * (size or 0) if start.sample is None else start.sample
        while True:
            with in_stream():
                batch: Any = next(batches, END)
            if batch is END:
                if start.batch == 0 and size is not None and not self.options.get("drop_last"):
                    self.check_length(self.dataset, get_length(self.dataset), samples, "samples")
                return
            self.warn_of_unsaved_state()
            if size is None:
                yield batch, BatchFacts()
            else:
                samples += batch.size
                yield batch.content, BatchFacts(samples=samples, size=batch.size)

    def _open(self, start: Position) -> tuple[DataLoader[Any], int]:
        """Makes the loader for a pass; also returns the number of batches to skip."""
        skipped, self._skipped = self._skipped, None
        if skipped is None or skipped[0] != start:
            return self.loader, start.batch
        dataset = SkippedStream(self.dataset, skipped[1])
        options = self.options | {"batch_size": self.batch_size}
        return WorkerLoader(dataset, self.dataset, **options), 0

    def read_batch(self, indices: list[int], seed: int) -> Any:
        raise TypeError("the samples of an iterable dataset have no indices")

    def list_batches(self) -> list[list[int]]:
        return []

    def recheck(self) -> None:
        """Does nothing: the workers of a pass cannot be replaced in its middle."""

    # -- position -------------------------------------------------------------------------------

    def state_dict(self, position: Position, left: int | None) -> dict[str, Any]:
        return super().state_dict(position, left) | {"num_workers": self.loader.num_workers}

    def is_finished(self, state: dict[str, Any]) -> bool:
        return state.get("left") == 0

    def restore_position(self, state: dict[str, Any], epoch: int) -> Position:
        """If the size of a batch has changed, each worker skips the samples that it has given."""
        num_batches, samples = state["consumed"], state.get("samples")
        num_workers = state.get("num_workers", self.loader.num_workers)
        if num_batches and num_workers != self.loader.num_workers:
            logging.getLogger("data_loader").warning(
                "%d workers read the iterable dataset before, and %d do now: samples of this "
                "epoch may come twice or not at all.",
                num_workers,
                self.loader.num_workers,
            )
        size, old_size = self.batch_size, state.get("batch_size", self.batch_size)
        if not size or not old_size or samples is None or size == old_size:
            return Position(epoch, num_batches, samples)
        position = Position(epoch, ceil(samples / size), samples)
        ranks = range(max(1, num_workers))
        counts = [len(range(rank, num_batches, len(ranks))) for rank in ranks]
        self._skipped = position, [old_size * batches for batches in counts]
        return position


class CountedBatch(NamedTuple):
    """A batch of a stream, and its number of samples, which its tensors may not show."""

    size: int
    content: Any


class CountingCollate:
    """A collate function that also returns the number of samples."""

    def __init__(self, collate_fn: Callable[[list[Any]], Any]) -> None:
        self.collate_fn = collate_fn

    def __call__(self, samples: list[Any]) -> CountedBatch:
        return CountedBatch(len(samples), self.collate_fn(samples))


class SkippedStream(IterableDataset[Any]):
    """An iterable dataset without its first samples.

    Args:
        dataset: iterable.
        skipped: the number of samples that each worker skips.
    """

    def __init__(self, dataset: Any, skipped: list[int]) -> None:
        self.dataset, self.skipped = dataset, skipped

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker = 0 if info is None else info.id
        skipped = self.skipped[worker] if worker < len(self.skipped) else 0
        return islice(iter(self.dataset), skipped, None)
