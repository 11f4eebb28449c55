"""Splits by time: the last part of a dataset, in its own order, is for validation."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from base.data.epoch_sampler import Array
from base.data.split import get_validation_size
from utils.errors import UserError
from utils.seed import temporary_seed

MAX_STEPS_COMPARED = 1000  # longer targets are not compared with their neighbours
SAMPLES_COMPARED = 8
NO_SERIES = ("targets", "labels", "classes", "samples", "imgs")  # of datasets of classes or files


def split_dataset_by_time(
    dataset: Any, size: float | int, folds: int | None, fold: int, gap: int | None
) -> tuple[Array, Array]:
    """Splits a dataset by ``split_by_time``, with the gap that its samples need.

    Args:
        dataset: map-style, in the order of time.
        size, folds, fold: see ``split_by_time``.
        gap: the samples between both parts; None takes the dataset's ``overlap``. If the dataset
            has none, a warning says so where the targets on both sides overlap.

    Raises:
        UserError: a part would be empty.
    """
    known = get_known_overlap(dataset)
    used = gap if gap is not None else known or 0
    train, valid = split_by_time(len(dataset), size, folds, fold, used)
    logger = logging.getLogger("data_loader")
    text = "By time: %d samples train, the %d after them are left out, and the next %d validate."
    logger.info(text, len(train), used, len(valid))
    count = find_overlap(dataset, int(train[-1])) if known is None else known
    if count > used:
        message = "The targets of %d training samples share steps with those of the validation, "
        message += "so its numbers are too good; set validation_gap: %d."
        logger.warning(message, count - used, count)
    return train, valid


def split_by_time(
    n_samples: int, size: float | int, folds: int | None = None, fold: int = 1, gap: int = 0
) -> tuple[Array, Array]:
    """Splits ``range(n_samples)`` into an earlier part for training and a later one.

    Source: with folds, scikit-learn's ``TimeSeriesSplit``: the samples are divided into
    ``folds + 1`` parts. Fold 1 validates on the second part, and trains on the first; each further
    one validates on the next part, and trains on all before it.

    Args:
        n_samples: the number of samples in the dataset.
        size: of the validation part, as a count (int) or a fraction (float), without folds.
        folds, fold: the number of folds, and the one for validation, from 1.
        gap: the number of samples that are left out before the validation part.

    Returns:
        The sorted indices for training, and those for validation.

    Raises:
        UserError: a part would be empty.
    """
    if folds is None:
        n_valid = get_validation_size(n_samples, size)
        end = n_samples - n_valid - gap
        if end < 1:
            message = f"{gap} leaves none of {n_samples} samples for training, because {n_valid} "
            raise UserError(f"{message}validate", key="validation_gap")
        return np.arange(end), np.arange(n_samples - n_valid, n_samples)
    part = n_samples // (folds + 1)
    first = n_samples - folds * part - gap
    if part < 1 or first < 1:
        needed = f"{folds} folds in the order of time, with a gap of {gap}"
        raise UserError(f"{needed}, need more than {n_samples} samples", key="folds")
    with temporary_seed(0):  # the first import of sklearn may draw random numbers
        from sklearn.model_selection import TimeSeriesSplit

        splits = TimeSeriesSplit(folds, gap=gap).split(np.zeros(n_samples))
        train, valid = list(splits)[fold - 1]
    return train, valid


def get_known_overlap(dataset: Any) -> int | None:
    """The ``overlap`` of a dataset: see ``find_overlap``. None if it has none."""
    from base.data.fitting import locate

    known = getattr(locate(dataset), "overlap", None)
    return int(known) if isinstance(known, int | np.integer) else None


def shares_targets(dataset: Any) -> bool:
    """Whether neighbours have steps of their targets in common, so that no random split is fair.

    If the dataset has no ``overlap``, a few samples are read, at three places. One sample is read
    if its target is no series, and none of a dataset of classes or files.
    """
    from base.data.fitting import locate

    known = get_known_overlap(dataset)
    if known is not None:
        return known > 0
    if any(hasattr(locate(dataset), name) for name in NO_SERIES):
        return False
    last = len(dataset) - SAMPLES_COMPARED if hasattr(dataset, "__len__") else -1
    return last >= 0 and all(find_overlap(dataset, start) for start in (0, last // 2, last))


def find_overlap(dataset: Any, index: int) -> int:
    """The number of following samples whose targets share steps with that of a sample.

    Args:
        dataset: map-style; a few samples are read from a shallow copy, as reading may change it.
        index: of the first of them.

    Returns:
        0 if the targets do not overlap, or if the dataset's samples have another form.
    """
    from utils.batch import find_target

    try:
        dataset = copy.copy(dataset)
        indices = range(index, min(index + SAMPLES_COMPARED, len(dataset)))
        targets: list[torch.Tensor] = []
        with temporary_seed(0):
            for i in indices:
                targets.append(torch.as_tensor(find_target(dataset[i])))
                if not _may_be_series(targets[0]):
                    return 0
    except Exception:  # a dataset may raise anything; the loader will report it
        return 0
    return count_shared_steps(targets)


def count_shared_steps(targets: Sequence[torch.Tensor]) -> int:
    """The number of following targets that share steps with a target; 0 if none does.

    Two targets share steps if one is the other, shifted by one or more steps.

    Args:
        targets: of neighbours, (H,) or (H, C) float each.
    """
    targets = targets[:SAMPLES_COMPARED]
    shapes = {tuple(target.shape) for target in targets}
    if len(shapes) != 1 or not all(map(_may_be_series, targets)):
        return 0
    shape = shapes.pop()
    for stride in range(1, shape[0]):
        pairs = [(first[stride:], second[:-stride]) for first, second in pairwise(targets)]
        if pairs and all(torch.equal(first, second) for first, second in pairs):
            shared = torch.cat([first for first, _ in pairs])
            # Labels, which are 0 or 1, and constants are alike by chance.
            return (shape[0] - 1) // stride if len(set(shared.flatten().tolist())) > 2 else 0
    return 0


def _may_be_series(target: torch.Tensor) -> bool:
    is_long = target.ndim in (1, 2) and 1 < len(target) <= MAX_STEPS_COMPARED
    return is_long and target.is_floating_point()
