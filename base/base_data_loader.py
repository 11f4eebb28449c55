"""BaseDataLoader: a DataLoader whose batches are the same whatever the workers, and that can go on anywhere."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, default_collate

from base.data.cache import cache_dataset, is_tensors, with_transform
from base.data.sampler import (
    CHANGE,
    EpochBatches,
    EpochSampler,
    Indices,
    SeededDataset,
    ShowDataset,
    as_it_is,
    class_weights,
    labels_of,
    split_indices,
)
from utils.batch import to_device
from utils.distributed import local_world_size, rank, world_size
from utils.errors import UserError
from utils.launch import num_cores
from utils.seed import mix_seed, temporary_seed

WHOLE = "cached, nor its batches transformed"


class BaseDataLoader(DataLoader[Any]):
    """The parent of all data loaders.

    Where several processes train together, it gives each of them its part of every batch, and shares out the workers.

    Args:
        dataset: map-style or iterable.
        batch_size: samples a batch, of all processes together.
        shuffle: a new order for every epoch.
        validation_split: what ``split_validation()`` gives: a count (int) or a fraction (float); 0 for none.
        num_workers: processes that read data; 0 reads in the training process. Does not change the batches.
        collate_fn: makes a batch of a list of samples.
        eval_transform: the transform of the validation part, in place of the dataset's own (training) one.
        cache: keep the data in memory as compact tensors, decoded once; transforms work on them as before.
        batch_transform: of whole batches ``[images, target]``: ``torchvision.transforms.v2``'s that draw no random
            numbers, and those of ``base/data/batch_transforms.py``, which draw for each sample.
        eval_batch_transform: that of the validation part, in its place.
        split_seed: of the division; 0 gives pytorch-template's.
        stratify: divide each class in the same proportion.
        sampler: gives the indices, in place of ``shuffle``; ``class_balanced`` draws every class as often, with
            replacement, as many samples as there are.
        batch_sampler: gives lists of indices, in place of ``batch_size`` and ``shuffle``.
        dataloader_kwargs: what else ``torch.utils.data.DataLoader`` takes (pin_memory, drop_last, …).

    Attributes:
        device: the trainer's. ``batch_transform`` works there, called by who takes the batch, as a worker would have to
            send four times as much where bytes become floats; and memory is pinned for it, unless ``pin_memory`` says.
        n_samples: samples an epoch (of the training part, when there is a split).
        valid_sampler: of the validation part, or None.
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
        of_iterable = validation_split or cache or batch_transform is not None
        _check(dataset, batch_size, validation_split, sampler, batch_sampler, bool(of_iterable))
        self.shuffle, self.validation_split, self.eval_transform = (
            shuffle,
            validation_split,
            eval_transform,
        )
        # The experiment's seed, without taking it from a config: whoever seeds torch decides the order.
        self.seed = torch.initial_seed() % 2**63
        self._passes, self._consumed, self._skip = 0, 0, 0
        self.valid_sampler: Any = None
        self._batches: EpochBatches | None = None
        num_workers = -(-num_workers // local_world_size())
        self.batch_transform, self.eval_batch_transform = batch_transform, eval_batch_transform
        self.device = torch.device("cpu")
        options = {"num_workers": num_workers, "collate_fn": collate_fn, **dataloader_kwargs}
        options["persistent_workers"] = num_workers > 0 and dataloader_kwargs.get(
            "persistent_workers", True
        )
        options.setdefault("generator", torch.Generator())
        if isinstance(dataset, IterableDataset):
            self.init_kwargs = {"dataset": dataset, "batch_size": batch_size, **options}
            options["persistent_workers"] = (
                False  # their random numbers would run on from pass to pass
            )
            super().__init__(dataset, batch_size=batch_size, **options)
            self._engine: DataLoader[Any] = DataLoader(dataset, batch_size=batch_size, **options)
            self.n_samples = len(dataset) if hasattr(dataset, "__len__") else 0
            return
        dataset = cache_dataset(dataset) if cache else dataset
        self.init_kwargs = {
            "dataset": dataset,
            "batch_size": batch_size,
            "shuffle": False,
            **options,
        }
        if (sampler is None and batch_sampler is None) or isinstance(sampler, str):
            train = self._split(len(dataset), split_seed, stratify)
            weights = None if sampler is None else class_weights(dataset, train)
            sampler = EpochSampler(train, shuffle, weights)
        drop_last = options.pop("drop_last", False)
        if batch_sampler is not None:
            own: dict[str, Any] = {"batch_sampler": batch_sampler}
            self._batches = EpochBatches(batch_sampler, None, drop_last, self.seed)
        else:
            own = {"batch_size": batch_size, "sampler": sampler, "drop_last": drop_last}
            self._batches = EpochBatches(sampler, batch_size, drop_last, self.seed)
        self.n_samples = len(sampler) if sampler is not None else len(dataset)
        if len(self._batches) == 0:
            raise UserError(
                f"batch_size={batch_size} with drop_last leaves no batch of {self.n_samples} samples"
            )
        super().__init__(dataset, **own, **options)
        options["worker_init_fn"] = ShowDataset(dataset, options.get("worker_init_fn"))
        whole = SeededDataset(dataset, options.pop("collate_fn") or default_collate)
        self._engine = DataLoader(
            whole, batch_sampler=self._batches, collate_fn=as_it_is, **options
        )

    def _split(self, n_samples: int, seed: int, stratify: bool) -> Any:
        """The training part's indices; keeps the validation part's sampler."""
        if not self.validation_split:
            return range(n_samples)
        labels = labels_of(self.init_kwargs["dataset"]) if stratify else None
        train, valid = split_indices(n_samples, self.validation_split, seed, labels)
        self.valid_sampler = EpochSampler(valid, shuffle=False)
        return train

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """One pass over the data. Passes number themselves, unless ``set_epoch`` says which one is next."""
        number, self._passes = self._passes, self._passes + 1
        skip, self._skip = self._skip, 0
        self._engine.generator.manual_seed(mix_seed(self.seed, number))  # type: ignore[attr-defined]
        if self.device.type in ("cuda", "xpu"):
            self._engine.pin_memory = self.init_kwargs.get("pin_memory", True)
        if self._batches is not None:
            self._batches.seed, self._batches.epoch, self._batches.start = self.seed, number, skip
        batches = iter(self._engine)
        if self._batches is None:
            with temporary_seed(
                self.seed
            ):  # what is read to be skipped draws from nobody's random numbers
                for _ in range(skip):
                    next(batches, None)
        self._consumed = skip
        for batch in batches:
            self._consumed += 1
            yield self.transformed(
                batch, mix_seed(self.seed, number, CHANGE, self._consumed, rank())
            )

    def transformed(self, batch: Any, seed: int) -> Any:
        """What ``batch_transform`` makes of a batch, by the random numbers of ``seed``."""
        if self.batch_transform is None:
            return batch
        with temporary_seed(seed):
            return self.batch_transform(to_device(batch, self.device))

    def batch_of(self, indices: list[int], seed: int) -> Any:
        """The batch of these samples of the dataset, as a loop gets it; where it is random, by numbers of its own."""
        samples = self._engine.dataset.__getitems__(Indices(indices, seed))  # type: ignore[attr-defined]
        return self.transformed(samples, seed)

    def indices(self) -> list[list[int]]:
        """The samples of the pass begun last, batch by batch, by their index in the dataset; empty if it has none."""
        if self._batches is None:
            return []
        whole = copy.copy(self._batches)
        whole.start = 0
        return [list(batch) for batch in whole]

    @property
    def is_map_style(self) -> bool:
        """Whether the dataset has indices; False for an iterable one."""
        return self._batches is not None

    def sample_indices(self) -> list[int]:
        """Returns the indices of all samples that this loader may draw, such as one split's."""
        if isinstance(self.sampler, EpochSampler):
            return [int(index) for index in self.sampler.indices]
        return list(range(len(self.dataset)))  # type: ignore[arg-type]

    def with_dataset(self, dataset: Any) -> BaseDataLoader:
        """Returns a loader of ``dataset`` whose batches have the same indices as this loader's.

        It is for data that was computed from this loader's batches, so transforms and workers
        are not taken over.

        Args:
            dataset: map-style, with the same indices; its ``__getitems__`` returns a whole batch.
        """
        assert self._batches is not None, "an iterable dataset has no indices"
        copied = ("batch_size", "drop_last", "pin_memory")
        options = {key: value for key, value in self.init_kwargs.items() if key in copied}
        loader = BaseDataLoader(dataset, sampler=self.sampler, collate_fn=as_it_is, **options)
        loader.seed = self.seed
        loader.device = self.device
        return loader if self._batches.in_step else loader.evaluating()

    def set_epoch(self, epoch: int) -> None:
        """Says that the next pass is number ``epoch``, and starts with its first batch."""
        self._passes, self._skip = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Where the loop is: the seed, the passes begun, and the batches consumed (not prefetched) of the last."""
        # The rest of a pass that is to be gone on with is begun already.
        passes, consumed = (
            (self._passes + 1, self._skip) if self._skip else (self._passes, self._consumed)
        )
        return {"seed": self.seed, "passes": passes, "consumed": consumed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on where ``state_dict`` was taken: the next pass is the rest of that one."""
        self.seed = state["seed"]
        self._passes, self._skip, self._consumed = state["passes"], 0, state["consumed"]
        if state["passes"] and (self._batches is None or state["consumed"] < len(self._batches)):
            self._passes, self._skip = state["passes"] - 1, state["consumed"]

    @property
    def share(self) -> float:
        """What the batch given last counts for, relative to those of the other ranks; 0 for one that fills in."""
        return 1.0 if self._batches is None else self._batches.share(self._consumed - 1)

    def evaluating(self) -> BaseDataLoader:
        """From now on gives every sample once, to one rank; there may then be a batch less on one than on another."""
        if self._batches is not None:
            self._batches.in_step = False
        return self

    def split_validation(self) -> BaseDataLoader | None:
        """A loader of the validation part, in a fixed order and under ``eval_transform``; None without a split."""
        if self.valid_sampler is None:
            return None
        dataset = self.init_kwargs["dataset"]
        if self.eval_transform is not None:
            dataset = with_transform(dataset, self.eval_transform)
        options = {**self.init_kwargs, "dataset": dataset, "drop_last": False}
        options["batch_transform"] = self.eval_batch_transform or self.batch_transform
        for name, transform in (
            ("", getattr(dataset, "transform", None)),
            ("batch_", options["batch_transform"]),
        ):
            if getattr(self, f"eval_{name}transform") is None and re.search(
                "Random|Aug|Jitter|Each", repr(transform)
            ):
                message = f"The validation part is augmented like the training part: give an eval_{name}transform."
                logging.getLogger("data_loader").warning(message)
        return BaseDataLoader(sampler=self.valid_sampler, **options).evaluating()


def _check(
    dataset: Any,
    batch_size: int | None,
    split: float | int,
    sampler: Any,
    batch_sampler: Any,
    whole: bool,
) -> None:
    """Raises UserError for arguments that do not go together; ``whole``: some of them need all of a dataset."""
    iterable = isinstance(dataset, IterableDataset)
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size={batch_size} must be at least 1")
    if iterable and whole:
        raise UserError(
            f"an iterable dataset cannot be {'split; give a valid_data_loader' if split else WHOLE}"
        )
    if world_size() > 1 and (iterable or isinstance(sampler, DistributedSampler)):
        part = "an iterable dataset" if iterable else "a DistributedSampler"
        raise UserError(
            f"{part} does not go with several processes: the loader divides the batches itself"
        )
    if iterable:
        return
    if len(dataset) == 0:
        raise UserError(f"the dataset {type(dataset).__name__} is empty")
    if batch_size is None and batch_sampler is None:
        raise UserError(
            "batch_size: null needs a batch_sampler, or an iterable dataset that gives batches"
        )
    if isinstance(sampler, str) and sampler != "class_balanced":
        raise UserError(f"sampler: '{sampler}' must be class_balanced, or a {{type, args}}")
    if split and (batch_sampler is not None or not (sampler is None or isinstance(sampler, str))):
        raise UserError(
            "validation_split and a sampler cannot both choose the samples; give a valid_data_loader"
        )


def default_workers(dataset: Any, cache: bool = False) -> int:
    """How many processes read a dataset if nobody says it: none where it is in memory, else one for each core.

    None too for an iterable dataset, whose samples they would repeat, and where processes do not start as a copy of
    this one, as then a dataset must be of a kind that can be sent to them.
    """
    start = (
        multiprocessing.get_start_method(allow_none=True)
        or multiprocessing.get_all_start_methods()[0]
    )
    if cache or is_tensors(dataset) or isinstance(dataset, IterableDataset) or start != "fork":
        return 0
    return min(8, num_cores())


class DatasetLoader(BaseDataLoader):
    """Loads any dataset that the config names, e.g. ``{"type": "torchvision.datasets.CIFAR10", "args": {…}}``.

    Args:
        dataset, batch_size, shuffle, kwargs: BaseDataLoader's, whose other arguments it takes too.
        num_workers: processes that read data; null for what ``default_workers`` finds.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 32,
        shuffle: bool = True,
        *,
        num_workers: int | None = None,
        **kwargs: Any,
    ) -> None:
        workers = (
            default_workers(dataset, kwargs.get("cache", False))
            if num_workers is None
            else num_workers
        )
        super().__init__(dataset, batch_size, shuffle, num_workers=workers, **kwargs)
