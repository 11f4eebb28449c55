"""Which arguments of a data loader go together."""

from __future__ import annotations

import logging
import re
from typing import Any

from torch.utils.data import DistributedSampler, IterableDataset

from utils.distributed import world_size
from utils.errors import UserError

AUGMENTING = re.compile("Random|Aug|Jitter|Each")  # in the names of random transforms


def check_batching(
    dataset: Any, batch_size: int | None, needs_indices: bool, split: float | int
) -> None:
    """Raises UserError for a batch size or a dataset that gives no batches."""
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size={batch_size} must be at least 1")
    if isinstance(dataset, IterableDataset):
        if split:
            raise UserError("an iterable dataset cannot be split; give a valid_data_loader")
        if needs_indices:
            message = "cannot be cached, nor its batches transformed"
            raise UserError(f"an iterable dataset {message}")
    elif len(dataset) == 0:
        raise UserError(f"the dataset {type(dataset).__name__} is empty")


def check_sampling(
    dataset: Any, batch_size: int | None, split: float | int, sampler: Any, batch_sampler: Any
) -> None:
    """Raises UserError for samplers that do not go with the other arguments."""
    iterable = isinstance(dataset, IterableDataset)
    if world_size() > 1 and (iterable or isinstance(sampler, DistributedSampler)):
        kind = "an iterable dataset" if iterable else "a DistributedSampler"
        message = "does not go with several processes: the loader divides the batches itself"
        raise UserError(f"{kind} {message}")
    if iterable:
        return
    if batch_size is None and batch_sampler is None:
        raise UserError(
            "batch_size: null needs a batch_sampler, or an iterable dataset that gives batches"
        )
    if isinstance(sampler, str) and sampler != "class_balanced":
        raise UserError(f"sampler: '{sampler}' must be class_balanced, or a {{type, args}}")
    if split and (batch_sampler is not None or not (sampler is None or isinstance(sampler, str))):
        raise UserError(
            "validation_split and a sampler cannot both choose the samples; "
            "give a valid_data_loader"
        )


def warn_if_random(argument: str, transform: Any) -> None:
    """Warns that validation samples are augmented, as the config gives no transform for them."""
    if AUGMENTING.search(repr(transform)):
        logging.getLogger("data_loader").warning(
            "The validation part is augmented like the training part: give an %s.", argument
        )
