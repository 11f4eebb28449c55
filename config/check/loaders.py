"""Checks arguments of loaders that do not fit a stream, which has no indices, or each other."""

from __future__ import annotations

import inspect
from typing import Any

from config.check.checker import Checker
from config.check.schedules import get_args

STREAM = "torch.utils.data.dataset.IterableDataset"
REFUSED = {
    "shuffle": "is read in its own order; remove shuffle, and let the dataset shuffle",
    "validation_split": "cannot be split; give a valid_data_loader",
    "cache": "cannot be cached",
    "batch_transform": "takes none; transform the samples, or use a collate_fn",
    "sampler": "is read in its own order",
    "batch_sampler": "is read in its own order",
}


def check_loaders(checker: Checker) -> None:
    """Reports arguments of loaders that do not fit a stream, or have no effect."""
    for keys, found in list(checker.resolved.items()):
        if keys[-2:] == ("args", "dataset") and _is_stream(found):
            args = get_args(checker, keys[:-2])
            for name, advice in REFUSED.items():
                if args.get(name):
                    message = f"{found.__name__} is a stream, which {advice}"
                    checker.fail((*keys[:-1], name), message)
        if keys[-2:] == ("args", "batch_sampler") and get_args(checker, keys[:-2]).get("shuffle"):
            message = "has no effect, because the batch_sampler decides the order; remove it"
            checker.fail((*keys[:-1], "shuffle"), message)


def _is_stream(found: Any) -> bool:
    kinds = found.__mro__ if inspect.isclass(found) else ()
    return any(f"{kind.__module__}.{kind.__qualname__}" == STREAM for kind in kinds)
