"""Checks arguments of loaders that do not fit a stream, which has no indices, or each other."""

from __future__ import annotations

import inspect
from typing import Any

from config.check.checker import Checker
from config.check.folds import find_split_problems
from config.check.schedules import get_args
from config.check.trainer_section import has_split
from config.read.tree import Keys

STREAM = "torch.utils.data.dataset.IterableDataset"
LOADER = "base.base_data_loader.BaseDataLoader"
REFUSED = {
    "shuffle": "is read in its own order; remove shuffle, and let the dataset shuffle",
    "validation_split": "cannot be split; give a valid_data_loader",
    "folds": "cannot be divided into folds",
    "groups": "cannot be split; give a valid_data_loader",
    "cache": "cannot be cached",
    "batch_transform": "takes none; transform the samples, or use a collate_fn",
    "sampler": "is read in its own order",
    "batch_sampler": "is read in its own order",
}


def check_loaders(checker: Checker) -> None:
    """Reports arguments of loaders that do not fit a stream, or have no effect."""
    for keys, found in list(checker.resolved.items()):
        if keys[-2:] == ("args", "dataset") and _derives(found, STREAM):
            args = get_args(checker, keys[:-2])
            for name, advice in REFUSED.items():
                if args.get(name):
                    message = f"{found.__name__} is a stream, which {advice}"
                    checker.fail((*keys[:-1], name), message)
        if keys[-2:] == ("args", "batch_sampler") and get_args(checker, keys[:-2]).get("shuffle"):
            message = "has no effect, because the batch_sampler decides the order; remove it"
            checker.fail((*keys[:-1], "shuffle"), message)
        if _derives(found, LOADER):
            _check_split(checker, keys, found, get_args(checker, keys))


def _check_split(checker: Checker, keys: Keys, found: Any, args: dict[str, Any]) -> None:
    """Reports arguments that divide the dataset, and do not fit each other or the config."""
    for problem in find_split_problems(args):
        checker.fail((*keys, "args", problem.key), problem.message)
    repeated = checker.tree.data.get("repeat")
    has_folds = isinstance(repeated, dict) and repeated.get("folds") is not None
    if args.get("validation_split_by") == "time" and not has_folds and not has_split(found, args):
        message = "has no effect without validation_split or folds"
        checker.fail((*keys, "args", "validation_split_by"), message)
    if args.get("folds") is None:
        return
    for name in ("sampler", "batch_sampler"):
        if isinstance(args.get(name), dict):
            message = "cannot choose the samples beside folds; remove it"
            checker.fail((*keys, "args", name), message)
    if keys == ("data_loader",) and checker.tree.data.get("valid_data_loader"):
        message = "the fold is the validation part, and there is a valid_data_loader; remove that"
        checker.fail((*keys, "args", "folds"), f"{message} (~valid_data_loader)")


def _derives(found: Any, name: str) -> bool:
    """Whether a class is the one with this dotted name, or derives from it."""
    kinds = found.__mro__ if inspect.isclass(found) else ()
    return any(f"{kind.__module__}.{kind.__qualname__}" == name for kind in kinds)
