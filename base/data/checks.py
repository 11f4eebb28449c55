"""Checks of the arguments of a data loader."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from torch.utils.data import BatchSampler, DistributedSampler, IterableDataset, default_collate

from base.data.buckets import BucketBatchSampler
from base.data.image_file import warn_if_misread
from utils.distributed import world_size
from utils.errors import UserError

AUGMENTING = re.compile("Random|Aug|Jitter|Each")  # in the names of random transforms
NAMES_SHOWN = 10  # of a dict of datasets


def check_batching(dataset: Any, batch_size: int | None, needs_indices: bool, split: bool) -> None:
    """Raises UserError if the batch size or the dataset does not fit the other arguments.

    Args:
        dataset: map-style or iterable.
        batch_size: None for a dataset or a sampler that makes batches itself.
        needs_indices: whether a cache or a batch transform needs a map-style dataset.
        split: whether there is a validation part.
    """
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size={batch_size} must be at least 1")
    _check_kind(dataset)
    if isinstance(dataset, IterableDataset):
        if split:
            raise UserError("an iterable dataset cannot be split; give a valid_data_loader")
        if needs_indices:
            message = "an iterable dataset supports neither cache nor batch_transform"
            raise UserError(message)
    elif len(dataset) == 0:
        raise UserError(f"the dataset {type(dataset).__name__} is empty")
    else:
        warn_if_misread(dataset)


def _check_kind(dataset: Any) -> None:
    """Raises UserError if a dataset is a table, or a dict of datasets."""
    if isinstance(dataset, Mapping) and 0 not in dataset:
        names = ", ".join(map(str, list(dataset)[:NAMES_SHOWN]))
        raise UserError(f"a {type(dataset).__name__} is no dataset; give one of its items: {names}")
    if hasattr(dataset, "iloc"):
        advice = (
            "give its rows, frame.to_dict('records'), or a dataset that reads frame.iloc[index]"
        )
        raise UserError(f"a {type(dataset).__name__} of pandas is no dataset; {advice}")


def check_sampling(
    dataset: Any,
    split: bool,
    sampler: Any,
    batch_sampler: Any,
    stream_sharding: Any = None,
    drop_last: bool = False,
    **_: Any,
) -> None:
    """Raises UserError if a sampler, or the division of a stream, does not fit the others."""
    if isinstance(dataset, IterableDataset):
        if sampler is not None or batch_sampler is not None:
            message = "an iterable dataset decides its order itself, without a sampler"
            raise UserError(message, key="sampler" if batch_sampler is None else "batch_sampler")
        if stream_sharding not in (None, "dataset", "samples"):
            message = f"{stream_sharding!r} must be dataset, samples or null"
            raise UserError(message, key="stream_sharding")
        return
    if stream_sharding is not None:
        raise UserError("only an iterable dataset takes it", key="stream_sharding")
    if batch_sampler is not None and drop_last:
        message = "has no effect, because the batch_sampler makes the batches; give it to that"
        raise UserError(message, key="drop_last")
    if isinstance(sampler, BatchSampler | BucketBatchSampler):
        message = "gives lists of indices; name it `batch_sampler`"
        raise UserError(f"{type(sampler).__name__} {message}", key="sampler")
    if world_size() > 1 and isinstance(sampler, DistributedSampler):
        message = "does not work with several processes: the loader divides the batches itself"
        raise UserError(f"a DistributedSampler {message}")
    if isinstance(sampler, str) and sampler != "class_balanced":
        raise UserError(f"sampler: '{sampler}' must be class_balanced, or a {{type, args}}")
    if split and (batch_sampler is not None or not (sampler is None or isinstance(sampler, str))):
        raise UserError(
            "validation_split or folds and a sampler cannot both choose the samples; "
            "give a valid_data_loader"
        )


def choose_collate(collate_fn: Any, batch_size: int | None, batch_sampler: Any) -> Any:
    """Returns None in place of the default if the dataset gives batches, which it would change."""
    gives_batches = batch_size is None and batch_sampler is None
    return None if gives_batches and collate_fn is default_collate else collate_fn


def keep_in_memory(dataset: Any) -> Any:
    """Returns a dataset that has decoded each sample once.

    Raises:
        UserError: the dataset is fitted on the training part, which is not known yet.
    """
    from base.data.cache import cache_dataset
    from base.data.fitting import find_fitted_dataset

    if find_fitted_dataset(dataset) is not None:
        message = f"a {type(dataset).__name__} scales its samples by the training part, which is "
        raise UserError(f"{message}not known when the cache is made; remove it", key="cache")
    return cache_dataset(dataset)


def warn_if_random(argument: str, transform: Any) -> None:
    """Warns if ``transform``, which the validation part uses too, looks like augmentation."""
    if AUGMENTING.search(repr(transform)):
        logging.getLogger("data_loader").warning(
            "The validation part is augmented like the training part: give an %s.", argument
        )
