"""Cached features: the output of the frozen modules, computed once for every sample.

Training then runs only the rest of the model. This file is optional: only ``transfer.py`` imports
it, and only if ``cache_features`` is on. Only this file imports ``frozen_prefix.py``.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from base.base_data_loader import BaseDataLoader
from base.data.cache import get_free_memory, refuse_new_attribute
from base.data.epoch_sampler import EpochSampler
from base.data.loader import DividedLoader, list_sets, map_sets
from base.data.worker import WorkerLoader, pass_through
from base.transfer.frozen_prefix import KEY, FrozenPrefix
from logger.progress import progress
from utils.batch import to_device
from utils.errors import UserError

NUM_PROBES = 16  # samples that are read twice, to find random transforms
MAX_MEMORY_FRACTION = 0.8  # of the free memory, for one loader's features


class FeatureDataset(Dataset[Any]):
    """Features and targets, under the indices of the dataset that they were computed from.

    Args:
        features: one row for each cached sample, shape (M, …).
        targets: their targets, shape (M, …).
        rows: the row of each index of the dataset, shape (len(dataset),) int64.
    """

    def __init__(self, features: torch.Tensor, targets: torch.Tensor, rows: torch.Tensor) -> None:
        self.features = features
        self.targets = targets
        self.rows = rows

    def __setattr__(self, name: str, value: Any) -> None:
        refuse_new_attribute(self, name, ("features", "targets", "rows"), KEY)
        super().__setattr__(name, value)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> Any:
        rows = self.rows[indices]
        return self.features[rows], self.targets[rows]


def cache_features(
    model: nn.Module, loaders: list[Any], device: torch.device, logger: logging.Logger
) -> list[Any]:
    """Computes the features of all samples. The model then takes them instead of its inputs.

    Args:
        model: on the device, with frozen parameters; changed in place.
        loaders: of (input, target) batches; None for one that is absent, a dict for several sets.
        device: takes the model's inputs.
        logger: gets the progress and the size.

    Returns:
        Loaders of features, with the batches in the order of the given ones.

    Raises:
        UserError: the transforms are random, the batches are not pairs of tensors, the model does
            not split into frozen and trained modules, or the features do not fit into memory.
    """
    start = time.perf_counter()
    prefix = make_prefix(model, loaders, device)
    cached = [
        map_sets(lambda item: _cache_loader(item, prefix, device, logger), loader)
        for loader in loaders
    ]
    prefix.skip()
    datasets = [item.dataset for loader in cached for _, item in list_sets(loader)]
    logger.info(
        "Features cached: %s samples, %.1f MB, %.1f s.",
        " + ".join(str(len(dataset.features)) for dataset in datasets),
        sum(dataset.features.nbytes for dataset in datasets) / 1e6,
        time.perf_counter() - start,
    )
    return cached


def make_prefix(model: nn.Module, loaders: list[Any], device: torch.device) -> FrozenPrefix:
    """Checks that features can be cached, and finds the modules that compute them.

    Raises:
        UserError: as ``cache_features``, except for the memory.
    """
    if getattr(model, "_compiled_call_impl", None) is not None:  # torch has no public name for it
        name = type(model).__name__
        raise UserError(f"{name} is compiled already; leave it to trainer.compile", key=KEY)
    for loader in loaders:
        map_sets(_check_loader, loader)
    train_loader = loaders[0]
    first = list(range(min(2, len(train_loader.dataset))))
    inputs, _ = _split_pair(train_loader.read_batch(first, seed=0))
    return FrozenPrefix(model, to_device(inputs, device))


def _check_loader(loader: Any) -> None:
    """Raises UserError for a loader that has no indices, or whose transforms are random."""
    if (
        not isinstance(loader, BaseDataLoader)
        or not isinstance(loader, DividedLoader)  # utils.migrate may put another class there
        or isinstance(loader.dataset, IterableDataset)
        or loader.batch_size is None
    ):
        message = "needs loaders derived from base.BaseDataLoader, of a dataset with indices"
        raise UserError(message, key=KEY)
    num_samples = len(loader.dataset)  # type: ignore[arg-type]
    probes = np.linspace(0, num_samples - 1, min(NUM_PROBES, num_samples)).astype(int).tolist()
    once = _split_pair(loader.read_batch(probes, seed=1))
    again = _split_pair(loader.read_batch(probes, seed=2))
    for row, index in enumerate(probes):
        if not all(torch.equal(one[row], two[row]) for one, two in zip(once, again, strict=True)):
            message = f"the data's transforms are random: sample {index} differs when read again"
            raise UserError(message, key=KEY)


def _split_pair(batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    if isinstance(batch, list | tuple) and len(batch) == 2:
        inputs, target = batch
        if isinstance(inputs, torch.Tensor) and isinstance(target, torch.Tensor):
            return inputs, target
    raise UserError("the batches must be pairs of an input and a target tensor", key=KEY)


def get_indices(loader: BaseDataLoader) -> list[int]:
    """Returns the indices of all samples that the loader may draw: one split, for example."""
    if isinstance(loader.sampler, EpochSampler):
        return [int(index) for index in loader.sampler.indices]
    return list(range(len(loader.dataset)))  # type: ignore[arg-type]


def copy_loader(loader: BaseDataLoader, dataset: Any) -> BaseDataLoader:
    """Returns a loader of ``dataset`` whose batches have the same indices as ``loader``'s.

    The dataset holds data that was computed from the batches of ``loader``, so transforms and
    workers are not copied.

    Args:
        loader: of the original data.
        dataset: map-style, with the same indices; its ``__getitems__`` returns a full batch.
    """
    copied = ("batch_size", "drop_last", "pin_memory")
    options = {key: value for key, value in loader.init_kwargs.items() if key in copied}
    copy = BaseDataLoader(dataset, sampler=loader.sampler, collate_fn=pass_through, **options)
    copy.seed, copy.device = loader.seed, loader.device
    return copy.for_evaluation() if loader.is_for_evaluation else copy


def _cache_loader(
    loader: BaseDataLoader, prefix: FrozenPrefix, device: torch.device, logger: logging.Logger
) -> BaseDataLoader:
    indices = get_indices(loader)
    features = _allocate(len(indices), prefix.output)
    targets = []
    num_done = 0
    batches = WorkerLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        sampler=indices,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        generator=torch.Generator(),  # the default would draw from the run's random numbers
    )
    for batch in progress(batches, len(batches), "features", logger):
        inputs, target = _split_pair(loader.transform(batch, 0))
        output = prefix.compute(to_device(inputs, device)).cpu()
        features[num_done : num_done + len(output)] = output
        targets.append(target)
        num_done += len(output)
    rows = torch.zeros(len(loader.dataset), dtype=torch.int64)  # type: ignore[arg-type]
    rows[torch.as_tensor(indices)] = torch.arange(len(indices))
    cached = copy_loader(loader, FeatureDataset(features, torch.cat(targets), rows))
    cached.device = device
    return cached


def _allocate(num_samples: int, like: torch.Tensor) -> torch.Tensor:
    """Returns an empty tensor on the CPU for the features of all samples. Raises UserError."""
    needed = num_samples * like[0].nbytes
    free = get_free_memory()
    if free is not None and needed > MAX_MEMORY_FRACTION * free:
        raise UserError(
            f"{num_samples:,} features take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
            "free; turn it off",
            key=KEY,
        )
    return torch.empty((num_samples, *like.shape[1:]), dtype=like.dtype)
