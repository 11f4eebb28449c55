"""Counts what the workers have read of a stream in a pass, for checkpoints."""

from __future__ import annotations

import logging
from math import ceil
from typing import Any, Self

from base.data.stream_batches import Start, StreamBatch
from base.data.stream_state import unpack
from utils.distributed import rank, world_size

LOGGER = logging.getLogger("data_loader")


class StreamProgress:
    """The progress of each worker of this rank in a pass, without prefetched batches.

    Args:
        num_workers: the number of workers; 0 if the training process reads.

    Attributes:
        workers: the position of each worker. If they share the stream, only the first one counts.
        turn: the worker that gives the next batch.
        is_shared: whether all workers read the same samples, and each keeps its own batches.
    """

    def __init__(self, num_workers: int) -> None:
        self.workers = [Start() for _ in range(max(1, num_workers))]
        self.turn, self.is_shared = 0, False
        self._packed: dict[int, tuple[bytes, int, int]] = {}  # snapshots that workers have sent

    def add(self, batch: StreamBatch) -> None:
        """Adds a batch that is given to the training."""
        index = 0 if batch.is_shared else batch.worker
        self.workers[index] = self.workers[index]._replace(
            batches=batch.batches, samples=batch.samples, counts_samples=False
        )
        if isinstance(batch.snapshot, bytes):
            self._packed[index] = batch.snapshot, batch.batches, batch.samples
        self.turn, self.is_shared = (batch.worker + 1) % len(self.workers), batch.is_shared

    @property
    def samples(self) -> int:
        """The number of samples that this rank has read."""
        return sum(worker.samples for worker in self.workers)

    @property
    def has_snapshots(self) -> bool:
        """Whether a pass can continue from snapshots, without reading everything again."""
        known = [worker.snapshot is not None or not worker.batches for worker in self.workers]
        return all(known)

    def unpack(self) -> None:
        """Unpacks the last snapshots, which few batches need."""
        for index, packed in self._packed.items():
            snapshot = unpack(*packed)
            self.workers[index] = self.workers[index]._replace(snapshot=snapshot)
        self._packed = {}

    def list_starts(self) -> dict[int, Start]:
        """Where each worker continues."""
        self.unpack()
        if self.is_shared:
            return dict.fromkeys(range(len(self.workers)), self.workers[0])
        return dict(enumerate(self.workers))

    # -- checkpoints ----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        self.unpack()
        known = self.workers[:1] if self.is_shared else self.workers
        workers = [
            {"batches": start.batches, "samples": start.samples, "snapshot": start.snapshot}
            for start in known
        ]
        return {"workers": workers, "turn": self.turn, "is_shared": self.is_shared}

    @classmethod
    def from_state(
        cls, state: dict[str, Any], num_workers: int, size: int | None, old_size: int | None
    ) -> Self | None:
        """Restores what ``state_dict`` returned, for the workers of this run.

        Args:
            state: of ``state_dict``.
            num_workers: the number of workers now.
            size, old_size: the number of samples in a batch of this rank, now and then.

        Returns:
            None if there was another number of workers, each of which has read its own part.
        """
        progress = cls(num_workers)
        progress.is_shared = state["is_shared"] and num_workers > 1
        if len(state["workers"]) != (1 if state["is_shared"] else len(progress.workers)):
            return None
        is_resized = bool(size and old_size and size != old_size)
        for index, saved in enumerate(state["workers"]):
            start = Start(saved["batches"], saved["samples"], is_resized, saved["snapshot"])
            if is_resized and size:
                start = start._replace(batches=ceil(start.samples / size))
            progress.workers[index] = start
        progress.turn = state["turn"]
        if state["is_shared"]:
            progress.turn = progress.workers[0].batches % len(progress.workers)
        return progress

    @classmethod
    def from_batches(cls, num_batches: int, num_workers: int, old_size: int, size: int) -> Self:
        """The progress of workers that took turns, for a checkpoint of an older version."""
        progress = cls(num_workers)
        count = len(progress.workers)
        for index in range(count):
            samples = old_size * len(range(index, num_batches, count))
            progress.workers[index] = Start(ceil(samples / size), samples, True)
        progress.turn = num_batches % count
        return progress


def restore_progress(
    state: dict[str, Any], num_workers: int, size: int | None, by_dataset: bool, is_resized: bool
) -> StreamProgress | None:
    """Restores the progress of this rank's workers from the state of a StreamReader.

    Args:
        state: of the reader.
        num_workers: the number of workers of this rank now.
        size: the number of samples in a batch of this rank now.
        by_dataset: whether the ranks read different samples now.
        is_resized: whether batches have another size now, over all ranks.

    Returns:
        None if it is unknown, or if there was another number of workers, each of which has read
        its own part.
    """
    num_before = state.get("num_workers", num_workers)
    saved, of_ranks = state.get("progress"), state.get("progress_of_ranks")
    if saved is not None and (by_dataset or of_ranks):
        if not (by_dataset and of_ranks and len(of_ranks) == world_size()):
            LOGGER.warning(
                "Other processes divided the iterable dataset before: samples of this epoch may "
                "come twice or not at all."
            )
            return None
        saved = of_ranks[rank()]
    was_shared = saved is not None and saved["is_shared"]
    if num_workers != num_before and not (was_shared and num_workers != 1):
        if state.get("left") != 0:
            LOGGER.warning(
                "%d workers read the iterable dataset before, and %d do now: samples of this "
                "epoch may come twice or not at all.",
                num_before,
                num_workers,
            )
        return None
    if saved is not None:
        return StreamProgress.from_state(saved, num_workers, size, state["part_size"])
    if is_resized and size is not None and world_size() == 1:
        return StreamProgress.from_batches(
            state["consumed"], num_workers, state["batch_size"], size
        )
    return None
