"""The validation split, and the classes of the samples."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np

from base.data.checks import warn_if_random
from base.data.epoch_sampler import Array, EpochSampler
from base.data.fitting import find_fitted_dataset, fit_dataset, warn_if_fitted_on_all
from utils.batch import TARGET_KEYS
from utils.errors import UserError
from utils.options import raise_problems

CLASSES_IN_LOG = 20
WINDOWS = (
    "Neighbouring samples have targets in common, and are divided at random: the numbers of the "
    "validation are too good. Set validation_split_by: time."
)
LABEL_ATTRIBUTES = ("targets", "labels", "_labels", "y")


@dataclass(frozen=True)
class Split:
    """How a dataset is divided into a training and a validation part.

    Attributes:
        validation_split: the size of the validation part, as a count (int) or a fraction (float);
            0 for none.
        seed: of the shuffling.
        stratify: whether to split each class in the same proportion.
        folds, fold: the number of folds of a cross-validation, and the one to validate on, counted
            from 1; None for none.
        groups: the group of each sample, or the name of the dataset's attribute or column that
            holds it; None for none. All samples of a group are in the same part.
        validation_split_by: ``random``, or ``time``: the last samples are for validation. With
            folds, each trains on what comes before it; see ``split_by_time``.
        validation_gap: the samples between both parts that neither has, for ``time``. None takes
            the dataset's ``overlap``, or 0.

    Raises:
        UserError: the arguments do not fit each other.
    """

    validation_split: float | int = 0.0
    seed: int = 0
    stratify: bool = False
    folds: int | None = None
    fold: int | None = None
    groups: Any = None
    validation_split_by: str = "random"
    validation_gap: int | None = None

    def __post_init__(self) -> None:
        from config.check.folds import find_split_problems

        raise_problems(find_split_problems({"split_seed": self.seed} | vars(self)))

    @property
    def is_needed(self) -> bool:
        """Whether there is a validation part."""
        return bool(self.validation_split) or self.folds is not None

    def find_indices(self, dataset: Any) -> tuple[Array, Array]:
        """Finds the indices for training, and those for validation.

        Raises:
            UserError: a part would be empty, or the classes or groups are unknown.
        """
        from base.data.time_split import shares_targets, split_dataset_by_time

        if self.validation_split_by == "time":
            size = self.validation_split if self.folds is None else 0
            return split_dataset_by_time(
                dataset, size, self.folds, self.fold or 1, self.validation_gap
            )
        if self.groups is None and shares_targets(dataset):
            logging.getLogger("data_loader").warning(WINDOWS)
        labels = get_labels(dataset) if self.stratify else None
        if self.folds is None and self.groups is None:
            return split_indices(len(dataset), self.validation_split, self.seed, labels)
        from base.data.folds import find_groups, split_folds, split_groups

        groups = None if self.groups is None else find_groups(dataset, self.groups)
        if self.folds is None or self.fold is None:
            return split_groups(groups, float(self.validation_split), self.seed, labels)
        return split_folds(len(dataset), self.folds, self.fold, self.seed, labels, groups)


def make_samplers(
    dataset: Any, split: Split, shuffle: bool, is_balanced: bool = False
) -> tuple[EpochSampler, EpochSampler | None]:
    """Makes the samplers of the training part and, if there is one, of the validation part.

    Args:
        dataset: map-style.
        split: how to divide it.
        shuffle: whether to draw a new order of the training part for every epoch.
        is_balanced: whether to draw all classes equally often for training, with replacement.

    Raises:
        UserError: a part would be empty, or the classes or groups are unknown.
    """
    train: Any = range(len(dataset))
    valid_sampler = None
    if split.is_needed:
        train, valid = split.find_indices(dataset)
        valid_sampler = EpochSampler(valid, shuffle=False)
    if find_fitted_dataset(dataset) is not None:
        fit_dataset(dataset, np.asarray(train))
    elif split.is_needed:
        warn_if_fitted_on_all(dataset)
    weights = class_weights(dataset, train) if is_balanced else None
    return EpochSampler(train, shuffle, weights), valid_sampler


def split_indices(
    n_samples: int, split: float | int, seed: int = 0, labels: Any = None
) -> tuple[Array, Array]:
    """Splits ``range(n_samples)`` into a training and a validation part.

    With seed 0 and no labels, the indices are exactly pytorch-template's. It shuffles them by
    ``np.random.seed(0)`` and ``np.random.shuffle``, and takes the first ones for validation. The
    global random state does not change here.

    Args:
        n_samples: the number of samples in the dataset.
        split: the size of the validation part, as a count (int) or a fraction (float).
        seed: the seed of the shuffling.
        labels: the class of each sample, shape ``(n_samples,)``. With labels, each class is split
            in the same proportion.

    Returns:
        The indices for training, and those for validation.

    Raises:
        UserError: a part would be empty.
    """
    size = get_validation_size(n_samples, split)
    order = np.arange(n_samples)
    np.random.RandomState(seed).shuffle(order)
    if labels is None:
        return order[size:], order[:size]
    labels = np.asarray(labels)[order]
    # Spreads each class evenly over [0, 1). Then the first `size` samples have the proportions.
    position = np.empty(n_samples)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = order[np.argsort(position, kind="stable")]
    return np.sort(order[size:]), np.sort(order[:size])


def get_validation_size(n_samples: int, split: float | int) -> int:
    """The number of samples for validation. Raises UserError if a part would be empty."""
    size = 0
    if isinstance(split, int) and not isinstance(split, bool):
        size = split
    elif 0 < split < 1:
        size = int(n_samples * split)
    if not 0 < size < n_samples:
        raise UserError(
            f"validation_split={split} of {n_samples} samples leaves one part empty: "
            f"give a count from 1 to {n_samples - 1} or a fraction between 0 and 1"
        )
    return size


def class_weights(dataset: Any, indices: Any) -> Array:
    """Computes weights for the samples at ``indices``, so that all classes are equally likely.

    Raises:
        UserError: the classes are unknown, or a sample has several labels.
    """
    labels = np.asarray(get_labels(dataset, "sampler"))[np.asarray(indices)]
    if labels.ndim != 1:
        shape = labels.shape[1:]
        raise UserError(
            f"sampler: class_balanced needs one class per sample, not labels of shape {shape}"
        )
    classes, positions, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shown = list(zip(classes, counts, strict=True))[:CLASSES_IN_LOG]
    text = ", ".join(f"{label}: {count}" for label, count in shown)
    more = ", …" if len(classes) > CLASSES_IN_LOG else ""
    logging.getLogger("data_loader").info(
        "Class-balanced: all classes are drawn equally often; samples: %s%s", text, more
    )
    return np.asarray((1 / counts)[positions])


def get_labels(dataset: Any, argument: str = "stratify") -> Any:
    """Finds the class of each sample without reading the samples.

    Args:
        dataset: a dataset of torch or torchvision, or one with similar attributes.
        argument: the argument that needs the classes, for the error.

    Raises:
        UserError: the dataset has no attribute that holds the classes.
    """
    labels = find_values(dataset, LABEL_ATTRIBUTES, TARGET_KEYS, has_tensors=True)
    if labels is None:
        name = type(dataset).__name__
        raise UserError(f"{argument}: {name} has no `targets` or `labels` with a class per sample")
    return labels


def find_values(
    dataset: Any, attributes: Iterable[str], columns: Iterable[str], has_tensors: bool = False
) -> Any:
    """Finds a value for each sample in an attribute or a column, without reading the samples.

    Args:
        dataset: of any class, also torch's ``Subset`` and ``ConcatDataset``.
        attributes: the names that an attribute with the values may have.
        columns: the names that a column of a HuggingFace dataset may have.
        has_tensors: whether the last tensor of a ``TensorDataset`` holds the values.

    Returns:
        One value per sample; None if the dataset has no such attribute or column.
    """
    for name in attributes:
        values = getattr(dataset, name, None)
        if isinstance(values, Sized) and len(values) == len(dataset):
            return values
    known = getattr(dataset, "column_names", None) or ()  # of HuggingFace
    for name in columns:
        if name in known:
            return np.asarray(dataset.with_format(None)[name])
    if has_tensors and hasattr(dataset, "tensors"):
        return dataset.tensors[-1]
    if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):  # torch's Subset
        found = [find_values(dataset.dataset, attributes, columns, has_tensors)]
        return None if found[0] is None else np.asarray(found[0])[dataset.indices]
    if hasattr(dataset, "datasets") and hasattr(dataset, "cumulative_sizes"):  # ConcatDataset
        found = [find_values(item, attributes, columns, has_tensors) for item in dataset.datasets]
        if not any(values is None for values in found):
            return np.concatenate([np.asarray(values) for values in found])
    return None


def choose_eval_data(
    dataset: Any, eval_transform: Any, batch_transform: Any, eval_batch_transform: Any
) -> dict[str, Any]:
    """Chooses the ``dataset`` and the ``batch_transform`` of a validation part.

    Args:
        dataset: of the training.
        eval_transform: replaces its ``transform``; None keeps it.
        batch_transform: of the training.
        eval_batch_transform: replaces ``batch_transform``; None keeps it.

    Raises:
        UserError: the dataset has no transform to replace.
    """
    if eval_transform is None:
        warn_if_random("eval_transform", getattr(dataset, "transform", None))
    else:
        from base.data.cache import with_transform

        dataset = with_transform(dataset, eval_transform)
    if eval_batch_transform is None:
        warn_if_random("eval_batch_transform", batch_transform)
        eval_batch_transform = batch_transform
    return {"dataset": dataset, "batch_transform": eval_batch_transform}
