"""Checks the arguments beside a dataset that is a stream, which has no indices."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from config.check.checker import Checker
from config.read.tree import Keys

STREAM = "torch.utils.data.dataset.IterableDataset"
REFUSED = {
    "shuffle": "a stream is read in its own order; remove it, and let the dataset shuffle",
    "validation_split": "a stream cannot be split; give a valid_data_loader",
    "cache": "a stream cannot be cached",
    "batch_transform": "a stream takes none; transform the samples, or use a collate_fn",
    "sampler": "a stream decides its order itself",
    "batch_sampler": "a stream decides its order itself",
}


def check_streams(checker: Checker) -> None:
    """Notes the arguments of loaders that do not fit an iterable dataset."""
    for keys, found in list(checker.resolved.items()):
        args = _get_args(checker.tree.data, keys[:-1])
        if keys[-2:] != ("args", "dataset") or args is None or not _is_stream(found):
            continue
        for name, advice in REFUSED.items():
            if args.get(name):
                checker.fail((*keys[:-1], name), f"{found.__name__} is a stream: {advice}")


def _is_stream(found: Any) -> bool:
    kinds = found.__mro__ if inspect.isclass(found) else ()
    return any(f"{kind.__module__}.{kind.__qualname__}" == STREAM for kind in kinds)


def _get_args(data: Any, keys: Keys) -> Mapping[str, Any] | None:
    """The mapping at ``keys``, or None."""
    for key in keys:
        if isinstance(data, Mapping) and key not in data:
            return None
        data = data[key]
    return data if isinstance(data, Mapping) else None
