"""Reads an iterable dataset, from any position on, with any number of workers and ranks."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from math import ceil
from typing import Any

from torch.utils.data import default_collate, default_convert

from base.data.lockstep import check_same_stream, exchange_sizes, send_filler
from base.data.order import BatchFacts, Position, count_batches, get_length
from base.data.reader import Pass, Reader
from base.data.sampler import SAMPLE_STREAM
from base.data.sharding import DIVIDING_LIBRARIES, find_library, shard_by_rank
from base.data.stream_batches import StreamBatch, StreamBatches
from base.data.stream_progress import StreamProgress, restore_progress
from base.data.stream_state import (
    continuing,
    find_inexact_state,
    is_resumable,
    takes_counts,
    tell_batching,
)
from base.data.worker import WorkerLoader, pass_through
from utils.distributed import all_gather, rank, world_size
from utils.errors import UserError
from utils.seed import RandomStream, mix_seed

LOGGER = logging.getLogger("data_loader")


class StreamReader(Reader):
    """Reads an iterable dataset.

    It finds a position by the dataset's own state, if there is one, and by reading the rest.

    Args:
        dataset: iterable.
        batch_size: the number of samples in a batch, over all ranks; None if the dataset gives
            batches.
        options: of the DataLoader.
        sharding: how it is divided among ranks and workers; None to find out.

    Attributes:
        by_dataset: whether the ranks read different samples. Otherwise each reads all of them, and
            keeps its part of each batch.
        progress: what the workers have read in this pass.
    """

    def __init__(
        self, dataset: Any, batch_size: int | None, options: dict[str, Any], sharding: Any = None
    ) -> None:
        self.name, self.undivided, self.sharding = type(dataset).__name__, dataset, sharding
        dataset, self.by_dataset = shard_by_rank(dataset, sharding, rank(), world_size())
        self.dataset, self.options = dataset, options
        self.size = batch_size  # of this rank
        if self.by_dataset and batch_size is not None:
            begin, end = (batch_size * index // world_size() for index in (rank(), rank() + 1))
            self.size = end - begin
            if batch_size < world_size():
                message = f"batch_size={batch_size} is less than the {world_size()} processes"
                raise UserError(f"{message}, which read different samples of {self.name}")
        self.stream = "dataset" if is_resumable(dataset) else None
        self.takes_counts, self.inexact = takes_counts(dataset), find_inexact_state(dataset)
        if self.takes_counts:
            tell_batching(dataset, self.size, options["num_workers"])
        has_state = self.stream is not None and not self.takes_counts and self.inexact is None
        collate_fn = options["collate_fn"]
        default = default_convert if batch_size is None else default_collate
        self.batches = StreamBatches(
            dataset,
            self.size,
            collate_fn or default,
            bool(options.get("drop_last")),
            sharding,
            self.by_dataset,
            has_state,
        )
        kept = {key: value for key, value in options.items() if key != "drop_last"}
        kept |= {"batch_size": None, "collate_fn": pass_through}
        loader = WorkerLoader(self.batches, dataset, **kept)
        super().__init__(loader, batch_size, dataset=dataset, collate_fn=collate_fn)
        self.length = length = get_length(self.undivided)
        if length is not None and find_library(dataset) in DIVIDING_LIBRARIES:
            self.length = length * world_size()
        self.n_samples = self.length or 0
        self.progress = StreamProgress(self.loader.num_workers)
        self._resumed: tuple[Position, StreamProgress] | None = None
        self._position = (-1, 0)  # of ``progress``: the epoch and the number of batches
        self._digest: int | None = None
        self._is_checked = self._is_described = False

    def __len__(self) -> int:  # torch's would warn if the length is an estimate
        size = self.batch_size
        drop_last = bool(self.options.get("drop_last"))
        n_samples = self.length
        if n_samples is None:
            return len(self.dataset)  # raises an error
        return n_samples if size is None else count_batches(n_samples, size, drop_last)

    # -- batches --------------------------------------------------------------------------------

    def read(self, start: Position, seed: int) -> Pass:
        """Yields the batches. In this process, the dataset draws from a stream of random numbers.

        So neither training nor skipping changes what the dataset draws.
        """
        self.begin_pass(start.epoch, seed)
        size = self.batch_size
        samples = start.batch * (size or 0) if start.sample is None else start.sample
        self.count = start.batch
        for content, facts in self._join_ranks(self._read_part(start, seed)):
            samples += facts.samples or 0
            self.count += 1
            self._position = start.epoch, self.count
            self.warn_of_unsaved_state()
            if facts.is_missing and not self.gives_fillers:
                continue
            yield content, facts if size is None else facts._replace(samples=samples)
        if start.batch == 0 and size is not None and not self.options.get("drop_last"):
            self.check_length(self.undivided, self.length, samples, "samples")

    def _join_ranks(self, batches: Iterator[StreamBatch]) -> Pass:
        """Adds facts about the other ranks. ``samples`` are those of this batch, over all ranks."""
        is_counted = self.batch_size is not None
        if world_size() == 1:
            for batch in batches:
                facts = BatchFacts(samples=batch.total, size=batch.size)
                yield batch.content, facts if is_counted else BatchFacts()
        elif self.by_dataset:
            yield from self._read_in_lockstep(batches)
        else:
            for batch in batches:
                weight = world_size() * batch.size / batch.total
                is_missing = batch.size == 0 and self.is_for_evaluation
                size = batch.size if is_counted else None
                yield batch.content, BatchFacts(weight, batch.total, None, size, is_missing)

    def _read_in_lockstep(self, batches: Iterator[StreamBatch]) -> Pass:
        """Goes on until all ranks are at their ends, which may be at different batches."""
        is_counted = self.batch_size is not None
        while True:
            batch: StreamBatch | None = next(batches, None)
            n_samples = 0 if batch is None else batch.size
            sizes = exchange_sizes(n_samples)
            if sizes.total == 0:
                return
            content = None if batch is None else batch.content
            if 0 in sizes.of_ranks and not self.is_for_evaluation:
                filler = send_filler(content, sizes.of_ranks)
                content = filler if batch is None else content
            is_missing = batch is None and self.is_for_evaluation
            size = n_samples if is_counted else None
            yield content, BatchFacts(sizes.loss_weight, sizes.total, None, size, is_missing)

    def _read_part(self, start: Position, seed: int) -> Iterator[StreamBatch]:
        """Yields the batches of this rank, and counts them in ``progress``."""
        rank_stream = [rank()] if self.by_dataset and rank() else []
        if rank_stream:  # else it would draw the numbers of rank 0
            seed_of_rank = mix_seed(seed, start.epoch, *rank_stream)
            self.loader.generator.manual_seed(seed_of_rank)  # type: ignore[attr-defined]
        stream_seed = mix_seed(seed, start.epoch, SAMPLE_STREAM, *rank_stream)
        stream = RandomStream(stream_seed)
        in_stream: Any = contextlib.nullcontext if self.loader.num_workers else stream.drawing
        n_skipped = self._choose_start(start)
        self.batches.section = self.section
        self.batches.seed, self.batches.fills = stream_seed, not self.is_for_evaluation
        self.batches.starts, self.batches.turn = self.progress.list_starts(), self.progress.turn
        must_check = world_size() > 1 and not self.by_dataset and start.batch == 0
        with self._continuing():
            with in_stream():
                batches = iter(self.loader)
            while True:
                with in_stream():
                    batch: StreamBatch | None = next(batches, None)
                if batch is not None and batch.worker < 0:
                    continue
                if must_check and not self._is_checked:
                    self._is_checked = True
                    digest = None if batch is None else batch.digest
                    check_same_stream(digest, self.name, self.section)
                if batch is None:
                    return
                self.progress.add(batch)
                self._describe(batch)
                if n_skipped > 0:
                    n_skipped -= 1
                    continue
                yield batch

    def _choose_start(self, start: Position) -> int:
        """Chooses where the workers begin; returns the number of batches to skip after that."""
        resumed, self._resumed = self._resumed, None
        is_known = resumed is not None and resumed[0] == start
        self.progress = (
            resumed[1] if resumed and is_known else StreamProgress(self.loader.num_workers)
        )
        self._position, self._digest = (start.epoch, start.batch), None
        if start.batch and not (self.takes_counts or (self.progress.has_snapshots and is_known)):
            message = "%s keeps no state: %d batches are read again, up to the present position."
            LOGGER.info(message, self.name, start.batch)
        return 0 if is_known else start.batch

    def _continuing(self) -> Any:
        must_continue = self.takes_counts and self.progress.samples > 0 and self.size is not None
        self.batches.continues = must_continue
        if not must_continue or self.size is None:
            return contextlib.nullcontext()
        workers = self.loader.num_workers
        return continuing(self.dataset, self.progress.samples, workers, self.size)

    def _describe(self, batch: StreamBatch) -> None:
        """Says once how the stream is divided if this costs time, and what cannot be saved.

        Raises:
            UserError: the workers read different samples, of which each would keep only some.
        """
        if batch.digest is not None and batch.is_shared:
            if self._digest not in (None, batch.digest):
                message = f"the workers read different samples of {self.name}, so each cannot keep"
                advice = "its own; give stream_sharding: dataset, or let it divide itself"
                raise UserError(f"{message} {advice}", key=self.section)
            self._digest = batch.digest
        reason = batch.snapshot if isinstance(batch.snapshot, str) else self.inexact
        if self._is_described:
            return
        self._is_described = True
        processes = 1 if self.by_dataset else world_size()
        workers = max(1, self.loader.num_workers) if batch.is_shared else 1
        if processes * workers > 1:
            LOGGER.warning(
                "%s: %s does not divide its samples: each of %s reads all of them and keeps its "
                "own, so reading costs %d times as much. Give it a method shard(num_shards, "
                "index), or see stream_sharding.",
                self.section,
                self.name,
                _count_readers(processes, workers),
                processes * workers,
            )
        if reason is not None and not self.is_for_evaluation:
            LOGGER.warning(
                "The state of %s cannot be used: %s. A resumed run reads up to its position.",
                self.name,
                reason,
            )

    def read_batch(self, indices: list[int], seed: int) -> Any:
        raise TypeError("the samples of an iterable dataset have no indices")

    def list_batches(self) -> list[list[int]]:
        return []

    def recheck(self) -> None:
        """Does nothing: the workers of a pass cannot be replaced in its middle."""

    # -- position -------------------------------------------------------------------------------

    def state_dict(self, position: Position, left: int | None) -> dict[str, Any]:
        state = super().state_dict(position, left) | {"num_workers": self.loader.num_workers}
        if not position.batch or left == 0 or self._position != position[:2]:
            return state
        progress = self.progress.state_dict()
        state |= {"progress": progress, "part_size": self.size or 0}
        return state | ({"progress_of_ranks": all_gather(progress)} if self.by_dataset else {})

    def is_finished(self, state: dict[str, Any]) -> bool:
        return state.get("left") == 0

    def restore_position(self, state: dict[str, Any], epoch: int) -> Position:
        """If the size of a batch has changed, each worker skips the samples that it has given."""
        num_batches, samples = state["consumed"], state.get("samples")
        size, old_size = self.batch_size, state.get("batch_size", self.batch_size)
        position = Position(epoch, num_batches, samples)
        is_resized = bool(size and old_size and samples is not None and size != old_size)
        if is_resized:
            position = position._replace(batch=ceil(samples / size))  # type: ignore[operator]
        if not num_batches:
            return position
        workers = self.loader.num_workers
        progress = restore_progress(state, workers, self.size, self.by_dataset, is_resized)
        if progress is not None:
            self.progress, self._position = progress, position[:2]
            self._resumed = position, progress
        return position


def _count_readers(processes: int, workers: int) -> str:
    """The readers of a stream, as text: ``2 processes with 3 workers``."""
    if processes == 1:
        return f"{workers} workers"
    return f"{processes} processes" + (f" with {workers} workers" if workers > 1 else "")
