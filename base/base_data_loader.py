"""BaseDataLoader: a DataLoader with reproducible batches that can resume at every batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Self

import torch
from torch.utils.data import DataLoader, IterableDataset, default_collate

from base.data.checks import check_batching, check_sampling, warn_if_random
from base.data.loader import DividedLoader
from base.data.sampler import BATCH_STREAM, BatchIndices, EpochBatchSampler, Position
from base.data.split import make_samplers
from base.data.worker import WorkerLoader, make_loader_options, make_seeded_loader
from utils.batch import to_device
from utils.distributed import rank
from utils.errors import UserError
from utils.seed import mix_seed, temporary_seed

PINNED_FOR = ("cuda", "xpu")  # devices that copy faster from pinned memory


class BaseDataLoader(DataLoader[Any], DividedLoader):
    """The parent of all data loaders.

    If several processes train, each gets its part of every batch, and of the workers.

    Args:
        dataset: map-style or iterable.
        batch_size: the number of samples in a batch, over all processes.
        shuffle: draw a new order for every epoch.
        validation_split: the size of the validation part, as a count (int) or a fraction (float);
            0 for none.
        num_workers: the number of processes that read data; with 0, the training process does.
        collate_fn: makes a batch from a list of samples.
        eval_transform, eval_batch_transform: replace the transforms for the validation part.
        cache: decode each sample once, and keep it in memory without its transform.
        batch_transform: changes full batches ``[images, target]``. This is a deterministic
            transform of torchvision, or one of ``base/data/batch_transforms.py``.
        split_seed: the seed of the split; 0 gives the same split as pytorch-template.
        stratify: split each class in the same proportion.
        sampler: gives the indices, instead of ``shuffle``; ``class_balanced`` draws all classes
            equally often, with replacement.
        batch_sampler: gives lists of indices, instead of ``batch_size`` and ``shuffle``.
        dataloader_kwargs: other arguments of ``torch.utils.data.DataLoader``.

    Attributes:
        device: where ``batch_transform`` runs, in the training process. Memory is pinned for it.
        n_samples: the number of samples in an epoch, without the validation part.
        valid_sampler: the sampler of the validation part, or None.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None,
        shuffle: bool = True,
        validation_split: float | int = 0.0,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = default_collate,
        *,
        eval_transform: Any = None,
        cache: bool = False,
        batch_transform: Any = None,
        eval_batch_transform: Any = None,
        split_seed: int = 0,
        stratify: bool = False,
        sampler: Any = None,
        batch_sampler: Any = None,
        **dataloader_kwargs: Any,
    ) -> None:
        needs_indices = bool(validation_split or cache or batch_transform is not None)
        check_batching(dataset, batch_size, needs_indices, validation_split)
        check_sampling(dataset, batch_size, validation_split, sampler, batch_sampler)
        self.shuffle, self.validation_split = shuffle, validation_split
        self.eval_transform, self.eval_batch_transform = eval_transform, eval_batch_transform
        self.batch_transform = batch_transform
        self.seed = torch.initial_seed() % 2**63  # projects seed torch, and not the loader
        self.device = torch.device("cpu")
        self.valid_sampler: Any = None
        self._position = Position(-1, 0)  # the last pass, and the number of batches it has given
        self._next = Position(0, 0)  # the start of the next pass
        self._batches: EpochBatchSampler | None = None
        options = make_loader_options(num_workers, collate_fn=collate_fn, **dataloader_kwargs)
        if cache:
            from base.data.cache import cache_dataset

            dataset = cache_dataset(dataset)
        self.init_kwargs = {"dataset": dataset, "batch_size": batch_size, "shuffle": False}
        self.init_kwargs |= options
        if isinstance(dataset, IterableDataset):
            self._init_iterable(dataset, batch_size, options)
            return
        if (sampler is None and batch_sampler is None) or isinstance(sampler, str):
            is_balanced = sampler is not None
            sampler, self.valid_sampler = make_samplers(
                dataset, validation_split, split_seed, stratify, shuffle, is_balanced
            )
        if batch_sampler is not None:
            batch_size, sampler = None, batch_sampler
        self._init_map_style(dataset, batch_size, sampler, options)

    def _init_iterable(self, dataset: Any, batch_size: int | None, options: dict[str, Any]) -> None:
        options["persistent_workers"] = False  # they would carry random states to the next pass
        super().__init__(dataset, batch_size=batch_size, **options)
        self._engine: DataLoader[Any] = WorkerLoader(dataset, batch_size=batch_size, **options)
        self.n_samples = len(dataset) if hasattr(dataset, "__len__") else 0

    def _init_map_style(
        self, dataset: Any, batch_size: int | None, sampler: Any, options: dict[str, Any]
    ) -> None:
        """Makes the loaders. Without a batch size, ``sampler`` gives lists of indices."""
        drop_last = options.pop("drop_last", False)
        batching: dict[str, Any] = {"batch_sampler": sampler}
        if batch_size is not None:
            batching = {"batch_size": batch_size, "sampler": sampler, "drop_last": drop_last}
        self._batches = EpochBatchSampler(sampler, batch_size, drop_last, self.seed)
        self.n_samples = len(dataset if batch_size is None else sampler)
        if len(self._batches) == 0:
            message = f"with drop_last leaves no batch of {self.n_samples} samples"
            raise UserError(f"batch_size={batch_size} {message}")
        super().__init__(dataset, **batching, **options)
        self._engine = make_seeded_loader(dataset, self._batches, options)

    # -- batches --------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yields the batches of the next pass, or of the one that ``set_epoch`` has chosen."""
        epoch, start = self._next
        self._next = Position(epoch + 1, 0)
        self._engine.generator.manual_seed(mix_seed(self.seed, epoch))  # type: ignore[attr-defined]
        if self.device.type in PINNED_FOR:
            self._engine.pin_memory = self.init_kwargs.get("pin_memory", True)
        if self._batches is not None:
            self._batches.seed = self.seed
            self._batches.start = Position(epoch, start)
        batches = iter(self._engine)
        if self._batches is None:
            with temporary_seed(self.seed):  # skipped batches must not change the random state
                for _ in range(start):
                    next(batches, None)
        self._position = Position(epoch, start)
        for number, batch in enumerate(batches, start + 1):
            self._position = Position(epoch, number)
            yield self.transform(batch, mix_seed(self.seed, epoch, BATCH_STREAM, number, rank()))

    def transform(self, batch: Any, seed: int) -> Any:
        """Applies ``batch_transform`` on the device, with random numbers from ``seed``."""
        if self.batch_transform is None:
            return batch
        with temporary_seed(seed):
            return self.batch_transform(to_device(batch, self.device))

    def read_batch(self, indices: list[int], seed: int) -> Any:
        """Reads the samples at ``indices`` as one batch; ``seed`` seeds their transforms."""
        reader: Any = self._engine.dataset
        return self.transform(reader.__getitems__(BatchIndices(indices, seed)), seed)

    def list_batches(self) -> list[list[int]]:
        """Lists the indices of each batch in the last pass; nothing for an iterable dataset."""
        return [] if self._batches is None else self._batches.list_batches()

    @property
    def loss_weight(self) -> float:
        """The size of this rank's last batch, divided by the ranks' mean size; 0 for a filler."""
        return 1.0 if self._batches is None else self._batches.loss_weight(self._position.batch - 1)

    # -- position -------------------------------------------------------------------------------

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Lets the next pass have the number ``epoch``, and skip ``start_batch`` batches."""
        self._next = Position(epoch, start_batch)

    def state_dict(self) -> dict[str, int]:
        """The seed, the number of passes begun, and the batches that the last one has given."""
        # A pass that was resumed in the middle, and has not continued yet, counts as begun.
        epoch, batch = self._next if self._next.batch else self._position
        return {"seed": self.seed, "passes": epoch + 1, "consumed": batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Lets the next pass continue the one in which ``state_dict`` was called."""
        self.seed = state["seed"]
        self._position = Position(state["passes"] - 1, state["consumed"])
        is_finished = self._batches is not None and state["consumed"] >= len(self._batches)
        is_new = state["passes"] == 0 or is_finished
        self._next = Position(state["passes"], 0) if is_new else self._position

    # -- splits ---------------------------------------------------------------------------------

    def for_evaluation(self) -> Self:
        """From now on, gives each sample to one rank only. Ranks may differ by one batch."""
        if self._batches is not None:
            self._batches.in_lockstep = False
        return self

    @property
    def is_for_evaluation(self) -> bool:
        return self._batches is not None and not self._batches.in_lockstep

    def split_validation(self) -> BaseDataLoader | None:
        """Returns a loader of the validation part, in a fixed order; None if there is none."""
        if self.valid_sampler is None:
            return None
        dataset = self.init_kwargs["dataset"]
        if self.eval_transform is not None:
            from base.data.cache import with_transform

            dataset = with_transform(dataset, self.eval_transform)
        options = {**self.init_kwargs, "dataset": dataset, "drop_last": False}
        options["batch_transform"] = self.eval_batch_transform
        if self.eval_transform is None:
            warn_if_random("eval_transform", getattr(dataset, "transform", None))
        if self.eval_batch_transform is None:
            options["batch_transform"] = self.batch_transform
            warn_if_random("eval_batch_transform", self.batch_transform)
        return BaseDataLoader(sampler=self.valid_sampler, **options).for_evaluation()
