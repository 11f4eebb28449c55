"""Reads the batches of a pass over the data, from any position on."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader

from base.data.buckets import BucketBatchSampler
from base.data.generators import reseeded
from base.data.kept_state import KeptState
from base.data.order import BatchFacts, Position
from base.data.sampler import PASS_STREAM
from base.data.self_changes import SelfChanges
from base.data.walk import call_set_epoch, find_generators
from utils.seed import mix_seed, temporary_seed

NO_CONTEXT = nullcontext()
Pass = Iterator[tuple[Any, BatchFacts]]


class Reader(ABC):
    """Reads passes, and knows the state that samplers and datasets keep for themselves.

    Args:
        loader: reads the batches.
        batch_size: the number of samples in a batch, over all ranks; None if a batch sampler or
            the dataset makes the batches.
        roots: the objects whose ``set_epoch`` is called, and whose state is saved.

    Attributes:
        n_samples: the number of samples in a pass; 0 if unknown.
        count: the number of batches in the last pass so far, over all ranks; 0 if unknown.
        is_for_evaluation: whether the passes evaluate. Their state is not saved.
        section: the section of the config that has made the loader, for errors.
        gives_fillers: whether an evaluation gives None for a batch that only other ranks have.
        num_open_passes: the number of passes that have begun, and have not ended or been left.
        stream: the root that is a stream with a state of its own; None if there is none.
    """

    n_samples: int
    count = 0
    section = "data_loader"
    gives_fillers = False
    num_open_passes = 0
    stream: str | None = None

    def __init__(self, loader: DataLoader[Any], batch_size: int | None, **roots: Any) -> None:
        self.loader, self.batch_size, self.roots = loader, batch_size, roots
        self.is_for_evaluation = False
        self.kept = KeptState(self.stream, **roots)
        self._at_start = self.kept.capture()  # the state before the last pass
        self._generators: dict[str, dict[str, Any]] = {}  # of a root, in this pass
        self._is_prepared = False
        self._restored: tuple[int, dict[str, Any]] | None = None
        self._has_warned = False
        self._has_other_length = False
        self._self_changes: SelfChanges | None = None  # since the start of the pass
        self._has_looked = False

    def __len__(self) -> int:
        return len(self.loader)

    @abstractmethod
    def read(self, start: Position, seed: int) -> Pass:
        """Yields the batches from ``start`` on, each with its facts."""

    def read_first(self, limit: int | None, start: Position, seed: int) -> Pass:
        """Yields what ``read`` does, but ends the pass after ``limit`` batches; None for all."""
        batches = self.read(start, seed)
        self.num_open_passes += 1
        try:
            yield from batches if limit is None else _end_after(limit, batches, start.batch)
        finally:
            self.num_open_passes -= 1

    @abstractmethod
    def restore_position(self, state: dict[str, Any], epoch: int) -> Position:
        """The position of a saved state in pass ``epoch``, in batches of the size of this run."""

    @abstractmethod
    def is_finished(self, state: dict[str, Any]) -> bool:
        """Whether a pass has ended at a saved state."""

    @abstractmethod
    def read_batch(self, indices: list[int], seed: int) -> Any:
        """Reads the samples at ``indices`` as one batch; ``seed`` seeds their transforms."""

    @abstractmethod
    def list_batches(self) -> list[list[int]]:
        """Lists the indices of each batch in the last pass; empty if samples have no indices."""

    @abstractmethod
    def recheck(self) -> None:
        """Checks before the next batch whether the dataset that workers have copied has changed."""

    def add_root(self, name: str, root: Any) -> None:
        """Adds an object to the roots, unless it is None."""
        if root is not None:
            self.roots[name] = root
            self.kept = KeptState(self.stream, **self.roots)
            self._at_start = self.kept.capture()

    def reseeded(self, name: str, seed: int) -> AbstractContextManager[None]:
        """Inside, the random generators of a root are seeded by ``seed``."""
        if name not in self._generators:
            self._generators[name] = find_generators({name: self.roots.get(name)})
        found = self._generators[name]
        return reseeded(found, seed) if found else NO_CONTEXT

    # -- the start of a pass --------------------------------------------------------------------

    def prepare(self, epoch: int) -> None:
        """Remembers the state before the pass ``epoch``, which may be one of a checkpoint."""
        if self._restored is not None:
            last_epoch, states = self._restored
            self.kept.restore_changes(states["start" if epoch == last_epoch else "now"])
            for root in self.roots.values() if epoch != last_epoch else ():
                if isinstance(root, BucketBatchSampler):
                    root.forget_earlier()
        self._at_start = self.kept.capture()
        self._is_prepared = True

    def begin_pass(self, epoch: int, seed: int) -> None:
        """Gives samplers and datasets the number of the epoch, and seeds the workers."""
        if not self._is_prepared:
            self.prepare(epoch)
        self._is_prepared, self._restored, self._generators = False, None, {}
        if self.is_for_evaluation:
            self.kept.reseed(mix_seed(seed, epoch, PASS_STREAM))
        self.loader.generator.manual_seed(mix_seed(seed, epoch))  # type: ignore[attr-defined]
        self.call_set_epoch(epoch, seed, self.roots)
        if not self._has_looked:  # `set_epoch` and the trainer may have changed the dataset
            self._self_changes = SelfChanges(self.kept.list_unsaved_roots())

    def call_set_epoch(self, epoch: int, seed: int, roots: dict[str, Any]) -> None:
        """Calls ``set_epoch`` of everything that has it, under random numbers of its own."""
        with temporary_seed(mix_seed(seed, epoch, PASS_STREAM)):
            call_set_epoch(epoch, roots)

    def warn_of_unsaved_state(self) -> None:
        """Warns once of state that is not saved, so that a resumed run does not have it."""
        if self._has_warned or self.is_for_evaluation:
            return
        self._has_warned = True
        for reason in self.kept.list_unsaved():
            logging.getLogger("data_loader").warning(
                "A resumed run will not have the same bits, because %s.", reason
            )

    def check_length(self, owner: Any, length: int | None, count: int, unit: str) -> None:
        """Warns once if a pass had another length than its sampler or dataset says.

        Args:
            owner: the sampler or the dataset.
            length: what it says; None if it says nothing.
            count: what the pass had.
            unit: batches or samples.
        """
        if length is None or length == count or self._has_other_length:
            return
        self._has_other_length = True
        logging.getLogger("data_loader").warning(
            "%s has the length %d, but gave %d %s. All were used; progress and schedules "
            "expect %d.",
            type(owner).__name__,
            length,
            count,
            unit,
            length,
        )

    def _warn_of_self_changes(self) -> None:
        """Warns at the first save of what a dataset changes itself, which is not saved."""
        if self._self_changes is None or self.is_for_evaluation:
            return
        reasons = [] if self._has_looked else self._self_changes.find()
        self._has_looked = True
        for reason in reasons:
            logging.getLogger("data_loader").warning(
                "A resumed run will not have the same bits if its samples depend on it: %s.", reason
            )

    # -- checkpoints ----------------------------------------------------------------------------

    def state_dict(self, position: Position, left: int | None) -> dict[str, Any]:
        """A position, and the state that samplers and datasets keep.

        Args:
            position: in the last pass, or at its start.
            left: the number of batches after it; None if unknown.
        """
        self._warn_of_self_changes()
        epoch, batch, samples = position
        state: dict[str, Any] = {"passes": epoch + 1, "consumed": batch}
        if samples is None and self.batch_size is not None:
            samples = batch * self.batch_size
        if samples is not None:
            state |= {"samples": samples, "batch_size": self.batch_size or 0}
        if left is not None:
            state["left"] = left
        states = {"start": self._at_start, "now": self.kept.capture()}
        changes = {name: self.kept.find_changes(kept) for name, kept in states.items()}
        return state | ({"kept": changes} if any(changes.values()) else {})

    def load_state_dict(self, state: dict[str, Any]) -> tuple[Position, Position]:
        """Restores a state.

        Returns:
            The position, and the start of the next pass: there, or at the first batch.
        """
        last_epoch = state["passes"] - 1
        position = self.restore_position(state, last_epoch)
        is_over = state["passes"] == 0 or self.is_finished(state)
        following = Position(last_epoch + 1, 0) if is_over else position
        if "kept" in state:
            self._restored = last_epoch, state["kept"]
            self.prepare(following.epoch)
        return position, following


def _end_after(limit: int, batches: Pass, number: int) -> Pass:
    """Ends a pass after ``limit`` batches, of which ``number`` come before ``batches``."""
    for batch, facts in islice(batches, max(0, limit - number)):
        number += 1
        left = limit - number
        if facts.left is not None:
            left = min(left, facts.left)
        is_known = facts.left is not None or left == 0
        yield batch, facts._replace(left=left if is_known else None)
