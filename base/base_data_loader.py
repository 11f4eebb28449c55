"""BaseDataLoader: a DataLoader with reproducible batches that can resume at every batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, Self

from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from base.data.checks import check_batching, check_sampling, choose_collate, keep_in_memory
from base.data.loader import DividedLoader
from base.data.map_reader import MapReader
from base.data.order import BatchFacts, Position, limit_length
from base.data.reader import Reader
from base.data.sampler import BATCH_STREAM
from base.data.split import Split, choose_eval_data, make_samplers
from base.data.stream_reader import StreamReader
from base.data.worker import make_loader_options, pins_memory
from utils.batch import to_device
from utils.distributed import rank
from utils.seed import get_shared_seed, mix_seed, temporary_seed


class BaseDataLoader(DataLoader[Any], DividedLoader):
    """The parent of all data loaders.

    If several processes train, each gets its part of every batch, and of the workers.

    Args:
        dataset: map-style or iterable.
        batch_size: samples in a batch, over all processes; None if the dataset gives batches.
        shuffle: draw a new order for every epoch.
        validation_split: the size of the validation part, a count or a fraction; 0 for none.
        num_workers: the number of processes that read data; with 0, the training process does.
        collate_fn: makes a batch from a list of samples.
        eval_transform, eval_batch_transform: replace the transforms for the validation part.
        cache: decode each sample once, and keep it in memory without its transform.
        batch_transform: changes full batches ``[images, target]``. This is a deterministic
            transform of torchvision, or one of ``base/data/batch_transforms.py``.
        split_seed: the seed of the split; 0 gives the same split as pytorch-template.
        validation_split_by, validation_gap: ``time`` validates on the last samples, after a gap.
        stratify: split each class in the same proportion.
        folds, fold: the number of folds of a cross-validation, and the one to validate on, from 1.
        groups: the group of each sample, or the name of the dataset's attribute or column that
            holds it. All samples of a group are in the same part.
        sampler: gives indices; ``class_balanced`` draws all classes equally, with replacement.
        batch_sampler: gives lists of indices, instead of ``batch_size`` and ``shuffle``.
        stream_sharding: how a stream is divided: ``dataset`` or ``samples``; null finds out.
        dataloader_kwargs: other arguments of ``torch.utils.data.DataLoader``.

    Attributes:
        device: where ``batch_transform`` runs, in the training process. Memory is pinned for it.
        n_samples: the number of samples in an epoch, without the validation part.
        valid_sampler: the sampler of the validation part, or None.
    """

    def __init__(
        self,
        dataset: Dataset[Any] | Iterable[Any],
        batch_size: int | None,
        shuffle: bool = True,
        validation_split: float | int = 0.0,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = default_collate,
        *,
        eval_transform: Callable[[Any], Any] | None = None,
        cache: bool = False,
        batch_transform: Callable[[Any], Any] | None = None,
        eval_batch_transform: Callable[[Any], Any] | None = None,
        split_seed: int = 0,
        stratify: bool = False,
        folds: int | None = None,
        fold: int | None = None,
        groups: str | list[Any] | None = None,
        validation_split_by: Literal["random", "time"] = "random",
        validation_gap: int | None = None,
        sampler: Iterable[int] | Literal["class_balanced"] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        stream_sharding: Literal["dataset", "samples"] | None = None,
        **dataloader_kwargs: Any,
    ) -> None:
        order = validation_split_by, validation_gap
        split = Split(validation_split, split_seed, stratify, folds, fold, groups, *order)
        check_batching(dataset, batch_size, cache or batch_transform is not None, split.is_needed)
        samplers = (sampler, batch_sampler, stream_sharding)
        check_sampling(dataset, split.is_needed, *samplers, **dataloader_kwargs)
        self.shuffle, self.validation_split = shuffle, validation_split
        self.eval_transform, self.eval_batch_transform = eval_transform, eval_batch_transform
        self.batch_transform = batch_transform
        self.seed = get_shared_seed()  # projects seed torch, and not the loader
        self.valid_sampler: Any = None
        self._position = Position(-1, 0)  # the last pass, and the number of batches it has given
        self._next = Position(0, 0)  # the start of the next pass
        self._facts = BatchFacts()  # of the last batch
        collate_fn = choose_collate(collate_fn, batch_size, batch_sampler)
        options = make_loader_options(num_workers, collate_fn=collate_fn, **dataloader_kwargs)
        dataset = keep_in_memory(dataset) if cache else dataset
        given = {"dataset": dataset, "batch_size": batch_size, "shuffle": False}
        self.init_kwargs: dict[str, Any] = given | options
        self.stream_sharding = stream_sharding
        is_custom = batch_sampler is not None or not (sampler is None or isinstance(sampler, str))
        if not is_custom and not isinstance(dataset, IterableDataset):
            sampler, self.valid_sampler = make_samplers(dataset, split, shuffle, bool(sampler))
        self._reader = self._make_reader(dataset, batch_size, sampler, batch_sampler, options)
        self._reader.add_root("batch_transform", batch_transform)
        self.n_samples = self._reader.n_samples

    def _make_reader(
        self, dataset: Any, batch_size: int | None, sampler: Any, batch_sampler: Any, options: Any
    ) -> Reader:
        if isinstance(dataset, IterableDataset):
            options["persistent_workers"] = False  # they would carry random states to the next pass
            super().__init__(dataset, batch_size=batch_size, **options)
            return StreamReader(dataset, batch_size, options, self.stream_sharding)
        drop_last = options.pop("drop_last", False)
        batching: dict[str, Any] = {"batch_sampler": batch_sampler}
        if batch_sampler is None:
            batching = {"batch_size": batch_size, "sampler": sampler, "drop_last": drop_last}
        super().__init__(dataset, **batching, **options)
        return MapReader(dataset, self.seed, options, **batching)

    # -- batches --------------------------------------------------------------------------------

    def __len__(self) -> int:
        """The number of batches in a pass; a sampler of the user may only estimate it."""
        return limit_length(self._reader, self.limit_batches)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yields the batches of the next pass, or of the one that ``set_epoch`` has chosen."""
        self._position, self._facts = self._next, BatchFacts()
        epoch, start, _ = self._position
        self._next = Position(epoch + 1, 0)
        self._reader.gives_fillers = self.gives_fillers
        self._reader.loader.pin_memory = pins_memory(self.init_kwargs, self.device)
        batches = self._reader.read_first(self.limit_batches, self._position, self.seed)
        for number, (batch, self._facts) in enumerate(batches, start + 1):
            self._position = Position(epoch, number, self._facts.samples)
            yield self.transform(batch, mix_seed(self.seed, epoch, BATCH_STREAM, number, rank()))
        self._facts = self._facts._replace(left=0)

    def transform(self, batch: Any, seed: int) -> Any:
        """Applies ``batch_transform`` on the device, with random numbers from ``seed``."""
        if self.batch_transform is None:
            return batch
        with temporary_seed(seed), self._reader.reseeded("batch_transform", seed):
            return self.batch_transform(to_device(batch, self.device))

    def read_batch(self, indices: list[int], seed: int) -> Any:
        """Reads the samples at ``indices`` as one batch; ``seed`` seeds their transforms."""
        return self.transform(self._reader.read_batch(indices, seed), seed)

    def list_batches(self) -> list[list[int]]:
        """Lists the indices of each batch in the last pass; nothing for an iterable dataset."""
        return self._reader.list_batches()[: self.limit_batches]

    @property
    def loss_weight(self) -> float:
        """The size of this rank's last batch, divided by the ranks' mean size; 0 for a filler."""
        return self._facts.loss_weight

    @property
    def batches_left(self) -> int | None:
        """The number of batches after the last one in this pass; None if unknown."""
        return self._facts.left

    @property
    def num_given(self) -> int:
        return max(self._position.batch, self._reader.count)

    @property
    def is_in_pass(self) -> bool:
        return self._reader.num_open_passes > 0 or bool(self._next.batch or self._next.sample)

    @property
    def n_in_batch(self) -> int | None:
        return self._facts.size

    # -- position -------------------------------------------------------------------------------

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Lets the next pass have the number ``epoch``, and skip ``start_batch`` batches."""
        known = [p for p in (self._next, self._position) if p[:2] == (epoch, start_batch)]
        self._next = known[0] if known else Position(epoch, start_batch)
        self._reader.prepare(epoch)

    def recheck(self) -> None:
        self._reader.recheck()

    def state_dict(self) -> dict[str, Any]:
        """The seed, the passes begun, and the batches and samples that the last one has given."""
        # A pass that was resumed in the middle, and has not continued yet, counts as begun.
        position = self._next if self._next.batch or self._next.sample else self._position
        left = self._facts.left if position == self._position else None
        return {"seed": self.seed} | self._reader.state_dict(position, left)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Lets the next pass continue the one in which ``state_dict`` was called."""
        self.seed, self._facts = state["seed"], BatchFacts(left=state.get("left"))
        self._position, self._next = self._reader.load_state_dict(state)

    # -- splits ---------------------------------------------------------------------------------

    def for_evaluation(self, section: str = "data_loader") -> Self:
        """From now on, gives each sample to one rank only. Ranks may differ by one batch."""
        self._reader.is_for_evaluation, self._reader.section = True, section
        return self

    @property
    def is_for_evaluation(self) -> bool:
        return self._reader.is_for_evaluation

    def split_validation(self) -> BaseDataLoader | None:
        """Returns a loader of the validation part, in a fixed order; None if there is none."""
        if self.valid_sampler is None:
            return None
        transforms = self.eval_transform, self.batch_transform, self.eval_batch_transform
        options = self.init_kwargs | choose_eval_data(self.dataset, *transforms)
        options["drop_last"] = False
        return BaseDataLoader(sampler=self.valid_sampler, **options).for_evaluation()
