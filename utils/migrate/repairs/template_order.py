"""BaseDataLoader splits and shuffles as pytorch-template's did: with NumPy's seed 0, and torch's own random numbers.

To give it up for exact resume within an epoch, ``stratify`` and ``eval_transform``: delete this file and its line in
base/__init__.py. The split stays the same; the order of the samples becomes another one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.utils.data import DataLoader, SubsetRandomSampler, default_collate

import base.base_data_loader
from utils.distributed import world_size
from utils.errors import UserError


class Transformed:
    """A ``collate_fn`` that transforms the batch that another one made."""

    def __init__(self, collate_fn: Any, transform: Any) -> None:
        self.collate_fn, self.transform = collate_fn, transform

    def __call__(self, samples: list[Any]) -> Any:
        return self.transform(self.collate_fn(samples))


class BaseDataLoader(DataLoader[Any]):
    """The parent of all data loaders; ``split_validation()`` gives the loader of the other part, shuffled too."""

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        shuffle: bool,
        validation_split: float | int,
        num_workers: int,
        collate_fn: Any = default_collate,
        batch_transform: Any = None,
        **dataloader_kwargs: Any,
    ) -> None:
        if world_size() > 1:  # each would train on all of the data
            message = "processes cannot divide batches in the template's order: delete repairs/template_order.py"
            raise UserError(f"{world_size()} {message} and its line in base/__init__.py")
        self.validation_split, self.shuffle = validation_split, shuffle
        self.batch_idx, self.n_samples = 0, len(dataset)
        self.sampler, self.valid_sampler = self._split_sampler(validation_split)
        if batch_transform is not None:  # our MnistDataLoader's
            collate_fn = Transformed(collate_fn, batch_transform)
        options: dict[str, Any] = {
            "batch_size": batch_size,
            "num_workers": num_workers,
            "collate_fn": collate_fn,
        }
        self.init_kwargs = {
            "dataset": dataset,
            "shuffle": self.shuffle,
            **options,
            **dataloader_kwargs,
        }
        super().__init__(sampler=self.sampler, **self.init_kwargs)

    def _split_sampler(self, split: float | int) -> tuple[Any, Any]:
        if split == 0.0:
            return None, None
        order = np.arange(self.n_samples)
        np.random.seed(0)  # of all that draws from NumPy afterwards too, as it ever did
        np.random.shuffle(order)
        size = split if isinstance(split, int) else int(self.n_samples * split)
        if isinstance(split, int) and not 0 < split < self.n_samples:
            raise ValueError(
                f"validation_split={split} of {self.n_samples} samples leaves a part empty"
            )
        self.shuffle, self.n_samples = False, self.n_samples - size
        return SubsetRandomSampler(order[size:]), SubsetRandomSampler(order[:size])  # type: ignore[arg-type]

    def split_validation(self) -> DataLoader[Any] | None:
        if self.valid_sampler is None:
            return None
        return DataLoader(sampler=self.valid_sampler, **self.init_kwargs)


base.base_data_loader.BaseDataLoader = BaseDataLoader  # type: ignore[misc, assignment]
