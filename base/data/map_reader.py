"""Reads the batches of a map-style dataset, from any position on."""

from __future__ import annotations

from typing import Any

from base.data.epoch_sampler import EpochSampler
from base.data.order import Position, count_batches, get_length
from base.data.reader import Pass, Reader
from base.data.sampler import BatchIndices, EpochBatchSampler
from base.data.worker import make_seeded_loader
from base.data.worker_copies import WorkerCopies
from utils.distributed import world_size
from utils.errors import UserError


class MapReader(Reader):
    """Reads a map-style dataset.

    Args:
        dataset: map-style.
        seed: of the run.
        options: of the DataLoader.
        batch_size: the number of samples in a batch, over all ranks. With None, each item of the
            dataset is a batch.
        sampler: gives indices.
        drop_last: leave out the last batch if it is smaller.
        batch_sampler: gives lists of indices, instead of the three before.
    """

    def __init__(
        self,
        dataset: Any,
        seed: int,
        options: dict[str, Any],
        batch_size: int | None = None,
        sampler: Any = None,
        drop_last: bool = False,
        batch_sampler: Any = None,
    ) -> None:
        is_batched = batch_size is not None or batch_sampler is not None
        self.batches = EpochBatchSampler(batch_sampler, None, False, seed)
        if batch_sampler is None:
            size = world_size() if batch_size is None else batch_size  # one item for each rank
            self.batches = EpochBatchSampler(sampler, size, drop_last, seed)
        loader = make_seeded_loader(dataset, self.batches, options, is_batched)
        collate_fn = options["collate_fn"]
        super().__init__(
            loader,
            self.batches.batch_size,
            sampler=self.batches.sampler,
            dataset=dataset,
            collate_fn=collate_fn,
        )
        n_samples = get_length(sampler)
        self.n_samples = len(dataset) if n_samples is None else n_samples
        is_exact = type(sampler) is EpochSampler  # another one may only estimate its length
        if is_exact and get_length(self.batches) == 0:
            message = f"with drop_last leaves no batch of {self.n_samples} samples"
            raise UserError(f"batch_size={batch_size} {message}")
        self.seeded: Any = loader.dataset
        self.source = (dataset, collate_fn)  # what workers have copies of
        self._must_check = False
        self._copies = WorkerCopies()

    def read(self, start: Position, seed: int) -> Pass:
        """Yields the batches. If the dataset changes, new workers read the next ones."""
        self.begin_pass(start.epoch, seed)
        self.seeded.forget_generators()
        self.seeded.section = self.section
        self.batches.seed, self.batches.in_lockstep = seed, not self.is_for_evaluation
        position = start
        while True:
            self.batches.start = position
            self._refresh_workers()
            for number, batch in enumerate(self.loader, position.batch):
                facts = self.batches.take(number)
                position = Position(start.epoch, number + 1, facts.samples)
                self.warn_of_unsaved_state()
                yield batch, facts
                if self._must_check and self._has_changed():
                    break
            else:
                break
            self._rewind_sampler(seed, start.epoch)
        self.count = self.batches.count
        if start.batch == 0:
            length = get_length(self.batches)
            self.check_length(self.batches.sampler, length, self.count, "batches")

    def _rewind_sampler(self, seed: int, epoch: int) -> None:
        """Lets the sampler draw the order of the pass again."""
        if "sampler" in self.kept.roots:
            self.kept.restore(self._at_start, "sampler")
            self.call_set_epoch(epoch, seed, {"sampler": self.batches.sampler})

    # -- workers --------------------------------------------------------------------------------

    def recheck(self) -> None:
        self._must_check = self.loader.num_workers > 0

    def _has_changed(self) -> bool:
        self._must_check = False
        return self._copies.differ(self.source)

    def _refresh_workers(self) -> None:
        self._must_check = False
        if self.loader.num_workers > 0:
            self._copies.refresh(self.source, self.loader)

    # -- batches --------------------------------------------------------------------------------

    def read_batch(self, indices: list[int], seed: int) -> Any:
        return self.seeded.__getitems__(BatchIndices(indices, seed))

    def list_batches(self) -> list[list[int]]:
        self.batches.in_lockstep = not self.is_for_evaluation
        now = self.kept.capture()
        self._rewind_sampler(self.batches.seed, self.batches.start.epoch)
        batches = list_full_epoch(self.batches)
        self.kept.restore(now, "sampler")
        return batches

    # -- position -------------------------------------------------------------------------------

    def load_state_dict(self, state: dict[str, Any]) -> tuple[Position, Position]:
        position, following = super().load_state_dict(state)
        if position.epoch >= 0:
            self.batches.start = position  # `list_batches` may be called before the next pass
        return position, following

    def is_finished(self, state: dict[str, Any]) -> bool:
        if "samples" in state:
            return state.get("left") == 0
        length = get_length(self.batches)  # the state is of an older version
        return length is not None and state["consumed"] >= length

    def restore_position(self, state: dict[str, Any], epoch: int) -> Position:
        """If the size of a batch has changed, the number of samples decides.

        The number of the batch is then such that the pass ends with the usual one, if possible. It
        is not 0 in the middle of a pass.
        """
        position = Position(epoch, state["consumed"], state.get("samples"))
        size, total = self.batch_size, get_length(self.batches.sampler)
        if size is None or position.sample is None or state["batch_size"] == size:
            return position
        batch = -(-position.sample // size)
        if total is not None:
            drop_last = self.batches.drop_last
            left = count_batches(max(0, total - position.sample), size, drop_last)
            batch = count_batches(total, size, drop_last) - left
        return Position(epoch, max(batch, min(1, position.sample)), position.sample)


def list_full_epoch(batches: EpochBatchSampler) -> list[list[int]]:
    """Lists this rank's indices in every batch of the epoch at ``batches.start``.

    If the epoch may have no end, the list ends with the last batch that was given.
    """
    full = EpochBatchSampler(batches.sampler, batches.batch_size, batches.drop_last, batches.seed)
    full.in_lockstep = batches.in_lockstep
    found: list[list[int]] = []
    for start in (Position(batches.start.epoch, 0), batches.start):
        full.start = start
        del found[start.batch :]
        for batch in full:
            found.append(list(batch))
            if full.take(len(found) - 1).left is None and full.count >= batches.count:
                break
    return found
