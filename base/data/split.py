"""The validation split, and the classes of the samples."""

from __future__ import annotations

import logging
from collections.abc import Sized
from typing import Any

import numpy as np

from base.data.epoch_sampler import Array, EpochSampler
from utils.batch import TARGET_KEYS
from utils.errors import UserError

CLASSES_IN_LOG = 20
LABEL_ATTRIBUTES = ("targets", "labels", "_labels", "y")


def make_samplers(
    dataset: Any,
    split: float | int,
    seed: int,
    stratify: bool,
    shuffle: bool,
    is_balanced: bool = False,
) -> tuple[EpochSampler, EpochSampler | None]:
    """Makes the samplers of the training part and, if there is one, of the validation part.

    Args:
        dataset: map-style.
        split, seed: as for ``split_indices``; a split of 0 makes no validation part.
        stratify: whether to split each class in the same proportion.
        shuffle: whether to draw a new order of the training part for every epoch.
        is_balanced: whether to draw all classes equally often for training, with replacement.

    Raises:
        UserError: a part would be empty, or the classes are unknown.
    """
    train: Any = range(len(dataset))
    valid_sampler = None
    if split:
        labels = get_labels(dataset) if stratify else None
        train, valid = split_indices(len(dataset), split, seed, labels)
        valid_sampler = EpochSampler(valid, shuffle=False)
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
    size = _validation_size(n_samples, split)
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


def _validation_size(n_samples: int, split: float | int) -> int:
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
    for name in LABEL_ATTRIBUTES:
        labels = getattr(dataset, name, None)
        if isinstance(labels, Sized) and len(labels) == len(dataset):
            return labels
    columns = getattr(dataset, "column_names", None) or ()  # of HuggingFace
    for name in TARGET_KEYS:
        if name in columns:
            return np.asarray(dataset.with_format(None)[name])
    if hasattr(dataset, "tensors"):
        return dataset.tensors[-1]
    if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):  # torch's Subset
        return np.asarray(get_labels(dataset.dataset, argument))[dataset.indices]
    name = type(dataset).__name__
    raise UserError(f"{argument}: {name} has no `targets` or `labels` with a class per sample")
