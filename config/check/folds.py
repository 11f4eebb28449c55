"""The rules between the arguments of a loader that divide its dataset."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

from utils.errors import Problem

MAX_SEED = 2**32 - 1  # of numpy's generator, which scikit-learn uses too
MAX_STRATIFIED_FRACTION = 0.5  # of the samples, if groups are divided


def find_split_problems(args: Mapping[str, Any]) -> list[Problem]:
    """Finds what is wrong with the arguments of a loader that divide its dataset.

    Args:
        args: of a ``BaseDataLoader``; those that are left out have their defaults. Values of a
            wrong type are not judged.
    """
    problems = _find_fold_problems(args) + _find_time_problems(args)
    seed: Any = args.get("split_seed")
    split = args.get("validation_split")
    if _is_integer(seed) and not 0 <= seed <= MAX_SEED:
        problems.append(Problem("split_seed", f"{seed} must be from 0 to {MAX_SEED}"))
    if args.get("groups") is None or args.get("folds") is not None or not split:
        return problems
    if _is_integer(split):
        message = f"{split} must be a fraction, because a group is not divided (groups)"
        problems.append(Problem("validation_split", message))
    elif isinstance(split, float) and not 0 < split < 1:
        problems.append(Problem("validation_split", f"{split} must be between 0 and 1"))
    elif args.get("stratify") and isinstance(split, float) and split > MAX_STRATIFIED_FRACTION:
        message = f"{split} must be at most {MAX_STRATIFIED_FRACTION} with stratify and groups"
        problems.append(Problem("validation_split", message))
    return problems


def _find_fold_problems(args: Mapping[str, Any]) -> list[Problem]:
    folds, fold = args.get("folds"), args.get("fold")
    if folds is None:
        return [] if fold is None else [Problem("fold", "needs folds, the number of folds")]
    problems = []
    if args.get("validation_split"):
        message = "remove it (~data_loader.args.validation_split): the fold is the validation part"
        problems.append(Problem("validation_split", message))
    if not _is_integer(folds):
        return problems
    if folds < 2:
        problems.append(Problem("folds", f"{folds} must be at least 2"))
    elif fold is None:
        message = f"needs fold, the one to validate on, from 1 to {folds}"
        problems.append(Problem("folds", message))
    elif _is_integer(fold) and not 1 <= fold <= folds:
        problems.append(Problem("fold", f"{fold} must be from 1 to {folds}"))
    return problems


def _find_time_problems(args: Mapping[str, Any]) -> list[Problem]:
    gap = args.get("validation_gap")
    by = args.get("validation_split_by", "random")
    if by == "random" and gap is not None:
        return [Problem("validation_gap", "has no effect without validation_split_by: time")]
    if by != "time":
        return []
    problems = []
    for name in ("stratify", "groups", "split_seed"):
        if args.get(name):
            message = "does not fit validation_split_by: time, which keeps the dataset's order"
            problems.append(Problem(name, f"{message}; remove it"))
    if _is_integer(gap) and gap is not None and gap < 0:
        problems.append(Problem("validation_gap", f"{gap} must be at least 0"))
    return problems


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
