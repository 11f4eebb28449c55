"""BaseDataLoader splits and shuffles as pytorch-template's did.

The split uses NumPy's global generator with seed 0. The order of samples uses torch's global
generator.

To remove it, delete this file and its line in base/__init__.py. You gain exact resume within an
epoch, ``stratify`` and ``eval_transform``. The split stays the same; the order of samples changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.utils.data import DataLoader, SubsetRandomSampler, default_collate

import base.loaders  # noqa: F401  (first, because its DatasetLoader needs Plainloop's class)
from base import base_data_loader
from utils.distributed import world_size
from utils.errors import UserError


class TransformingCollate:
    """A ``collate_fn`` that transforms the batch that another one made."""

    def __init__(self, collate_fn: Any, transform: Any) -> None:
        self.collate_fn = collate_fn
        self.transform = transform

    def __call__(self, samples: list[Any]) -> Any:
        return self.transform(self.collate_fn(samples))


class BaseDataLoader(DataLoader[Any]):
    """The parent of all data loaders.

    ``split_validation()`` returns the loader of the other part of the split. It shuffles too.
    """

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
        if world_size() > 1:  # each process would train on all data
            raise UserError(
                f"{world_size()} processes cannot divide batches in the template's order: delete "
                "repairs/template_order.py and its line in base/__init__.py"
            )
        self.validation_split = validation_split
        self.shuffle = shuffle
        self.batch_idx = 0
        self.n_samples = len(dataset)
        self.sampler, self.valid_sampler = self._split_sampler(validation_split)
        if batch_transform is not None:  # an argument of Plainloop's MnistDataLoader
            collate_fn = TransformingCollate(collate_fn, batch_transform)
        self.init_kwargs: dict[str, Any] = {
            "dataset": dataset,
            "batch_size": batch_size,
            "shuffle": self.shuffle,
            "collate_fn": collate_fn,
            "num_workers": num_workers,
            **dataloader_kwargs,
        }
        super().__init__(sampler=self.sampler, **self.init_kwargs)

    def _split_sampler(self, split: float | int) -> tuple[Any, Any]:
        if split == 0.0:
            return None, None
        order = np.arange(self.n_samples)
        np.random.seed(0)  # the template's seed also set what the project draws later
        np.random.shuffle(order)
        size = split if isinstance(split, int) else int(self.n_samples * split)
        if isinstance(split, int) and not 0 < split < self.n_samples:
            raise ValueError(
                f"validation_split={split} of {self.n_samples} samples leaves one part empty"
            )
        self.shuffle = False
        self.n_samples -= size
        train_sampler = SubsetRandomSampler(order[size:])  # type: ignore[arg-type]
        valid_sampler = SubsetRandomSampler(order[:size])  # type: ignore[arg-type]
        return train_sampler, valid_sampler

    def split_validation(self) -> DataLoader[Any] | None:
        if self.valid_sampler is None:
            return None
        return DataLoader(sampler=self.valid_sampler, **self.init_kwargs)


base_data_loader.BaseDataLoader = BaseDataLoader  # type: ignore[misc, assignment]
