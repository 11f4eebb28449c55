"""Reads the batches of a stream, in the training process or in one of several workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain, islice
from typing import Any, NamedTuple

from torch.utils.data import IterableDataset

from base.data.sampler import SAMPLE_STREAM
from base.data.sharding import (
    Sharding,
    digest,
    has_asked_for_worker,
    hide_workers,
    identify_worker,
    make_shard,
)
from base.data.stream_state import Snapshots, restoring_generators
from base.data.worker import READING
from utils.distributed import rank, world_size
from utils.errors import UserError, one_line
from utils.seed import get_cpu_state, mix_seed, seed_cpu, set_cpu_state, temporary_seed


class StreamBatch(NamedTuple):
    """A batch of a stream, and what the training process must know about it.

    Attributes:
        worker: the number of the worker; -1 if this is no batch, but only shifts the turns.
        content: the collated part of this rank; None if the rank has no part.
        size: the number of samples in this part.
        total: the number of samples in the batch, of which ranks may have taken parts.
        batches, samples: what the worker has read in this pass, up to the end of this batch.
        is_shared: whether all workers read the same samples, and each keeps its own batches.
        digest: of the first samples of the stream, with the first batch of a worker.
        snapshot: of the state after this batch; see ``Snapshots.take``.
    """

    worker: int
    content: Any = None
    size: int = 0
    total: int = 0
    batches: int = 0
    samples: int = 0
    is_shared: bool = False
    digest: int | None = None
    snapshot: bytes | str | None = None


class Start(NamedTuple):
    """Where a worker begins in a pass.

    Attributes:
        batches, samples: what it has read before.
        counts_samples: whether ``samples`` decides, because batches have another size now.
        snapshot: of the state at this position or before it, or None.
    """

    batches: int = 0
    samples: int = 0
    counts_samples: bool = False
    snapshot: dict[str, Any] | None = None


class Started(Iterator[Any]):
    """Goes on with a dataset that is its own iterator. Its ``__iter__`` may begin again.

    Functions such as ``islice`` call ``iter`` of everything that they get.
    """

    def __init__(self, samples: Iterator[Any]) -> None:
        self.samples = samples

    def __next__(self) -> Any:
        return next(self.samples)


class StreamBatches(IterableDataset[Any]):
    """A stream whose items are collated batches.

    Args:
        dataset: the stream, or the part of it that this rank reads.
        size: the number of samples in a batch; None if each item of the dataset is a batch.
        collate_fn: makes a batch from a list of samples, or from one item.
        drop_last: leave out the last batch if it is smaller.
        sharding: "dataset" if the stream divides itself among workers, "samples" if it must not,
            None to find out.
        by_dataset: whether other ranks read other samples. Otherwise, all ranks read the same
            samples, and each keeps its part of each batch.
        has_state: whether to take snapshots of the state.

    Attributes:
        seed: of the present pass.
        fills: whether a rank without a sample in a batch gets a sample of another rank.
        starts: where each worker begins in the present pass; by default, at the first sample.
        turn: the worker that gives the first batch.
        continues: whether the dataset itself begins in the middle of the present pass.
    """

    def __init__(
        self,
        dataset: Any,
        size: int | None,
        collate_fn: Callable[[Any], Any],
        drop_last: bool,
        sharding: Sharding | None,
        by_dataset: bool,
        has_state: bool,
    ) -> None:
        self.dataset, self.collate_fn, self.drop_last = dataset, collate_fn, drop_last
        self.sharding, self.has_state = sharding, has_state
        self.rank, self.ranks = (0, 1) if by_dataset else (rank(), world_size())
        self.is_batched = size is not None
        self.size = self.ranks if size is None else size
        self.seed, self.fills, self.turn = 0, True, 0
        self.starts: dict[int, Start] = {}
        self.continues = False
        self.section = "data_loader"  # of the config, for errors

    def __iter__(self) -> Iterator[StreamBatch]:
        worker, workers = identify_worker()
        if worker < self.turn:
            yield StreamBatch(-1)  # so that the first batch comes from the worker `turn`
        start = self.starts.get(worker, Start())
        n_batches = n_samples = 0  # that are read before the first sample of the iterator
        if self.continues:
            n_batches, n_samples = start.batches, start.samples
        elif start.snapshot is not None:
            n_batches, n_samples = start.snapshot["batches"], start.snapshot["samples"]
        with self._reading(n_batches + 1):
            samples, is_shared = self._open(start, workers)
        snapshots = Snapshots(
            self.dataset, self.collate_fn, start.snapshot if self.has_state else None
        )
        takes_snapshots = self.has_state and (worker == 0 or not is_shared)
        if start.counts_samples:
            with self._reading(start.batches):
                deque(islice(samples, start.samples - n_samples), maxlen=0)
            n_batches, n_samples = start.batches, start.samples
        first: int | None = None
        is_full = True
        while is_full:
            with self._reading(n_batches + 1):
                batch = list(islice(samples, self.size))
            is_full = len(batch) == self.size
            if not batch or (self.drop_last and not is_full):
                return
            if n_batches == 0 and (is_shared or self.ranks > 1):
                first = digest(batch)
            is_kept = not is_shared or n_batches % workers == worker
            n_batches, n_samples = n_batches + 1, n_samples + len(batch)
            if is_kept:
                content, size = self._collate(batch, n_batches, is_shared)
                if n_batches > start.batches:
                    yield StreamBatch(
                        worker,
                        content,
                        size,
                        total=len(batch),
                        batches=n_batches,
                        samples=n_samples,
                        is_shared=is_shared,
                        digest=first,
                        snapshot=snapshots.take(n_batches) if takes_snapshots else None,
                    )
                    first = None

    @contextmanager
    def _reading(self, number: int) -> Iterator[None]:
        """Says which batch could not be read.

        Raises:
            UserError: a file is missing or damaged.
        """
        text = f"batch {number} of {type(self.dataset).__name__}"
        try:
            yield
        except OSError as error:
            message = f"{text} cannot be read: {one_line(error)}"
            raise UserError(message, key=self.section) from error
        except Exception as error:
            error.add_note(READING + text)
            raise

    def _collate(self, batch: list[Any], number: int, is_shared: bool) -> tuple[Any, int]:
        """Collates this rank's part of a batch, and counts its samples."""
        part = batch
        if self.ranks > 1:
            begin, end = (len(batch) * index // self.ranks for index in (self.rank, self.rank + 1))
            part = batch[begin:end]
        size = len(part)
        if not part:
            part = batch[:1]
        if size == 0 and not self.fills:
            return None, 0
        # Readers of the same stream collate different batches, but must draw the same numbers.
        seed = mix_seed(self.seed, SAMPLE_STREAM, number, self.rank)
        with temporary_seed(seed) if is_shared or self.ranks > 1 else nullcontext():
            try:
                return self.collate_fn(part if self.is_batched else part[0]), size
            except UserError as error:
                raise error if error.problems[0].key else error.under(self.section) from error

    # -- the start of a pass --------------------------------------------------------------------

    def _open(self, start: Start, workers: int) -> tuple[Iterator[Any], bool]:
        """Iterates over the samples; also returns whether all workers read the same ones."""
        if workers == 1 or self.sharding == "dataset":
            return self._begin(start), False
        if self.sharding == "samples":
            hide_workers()
            return self._begin_shared(start), True
        restore, random_state = restoring_generators(self.dataset), get_cpu_state()
        samples = self._begin(start)
        first = list(islice(samples, 1))
        if has_asked_for_worker():
            return chain(first, samples), False
        restore()
        set_cpu_state(random_state)
        shard = make_shard(self.dataset, workers, identify_worker()[0])
        if shard is not None:
            self.dataset = shard
            return self._begin(start), False
        again = self._begin(start)
        second = list(islice(again, 1))
        if digest(first) == digest(second):
            restore()
            return self._begin_shared(start), True
        if again is samples or isinstance(again, Started):  # it cannot begin again
            return chain(first, second, samples), True
        return chain(second, again), False  # it differs each time, as random numbers do

    def _begin(self, start: Start) -> Iterator[Any]:
        if start.snapshot is None or not self.has_state:
            samples = iter(self.dataset)
        else:
            samples = Snapshots(self.dataset, self.collate_fn, None).begin(start.snapshot)
        return Started(samples) if samples is self.dataset else samples

    def _begin_shared(self, start: Start) -> Iterator[Any]:
        """Begins with the random numbers that the training process would have without workers."""
        seed_cpu(self.seed)
        return self._begin(start)
