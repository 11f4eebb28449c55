"""Dividing a dataset: the validation split, and what it takes to know the samples' classes."""

from __future__ import annotations

import logging
from collections.abc import Sized
from typing import Any

import numpy as np

from base.data.epoch_sampler import Array, EpochSampler
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
        split, seed: as for ``split_indices``; a split of 0 leaves all samples for training.
        stratify: divide each class in the same proportion.
        shuffle: draw the training part in a new order in every epoch.
        is_balanced: draw all classes of the training part equally often, with replacement.

    Raises:
        UserError: a part would be empty, or the dataset does not tell its classes.
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
    """Divides ``range(n_samples)`` into a training and a validation part.

    With seed 0 and no labels these are exactly pytorch-template's indices: those of
    ``np.random.seed(0)`` and ``np.random.shuffle``, the first of them for validation. The global
    generator is not touched.

    Args:
        n_samples: of the dataset.
        split: size of the validation part: a count (int) or a fraction (float).
        seed: of the division.
        labels: class of every sample, shape ``(n_samples,)``; each class is then divided in the
            same proportion.

    Returns:
        Training and validation indices.

    Raises:
        UserError: a part would be empty.
    """
    size = _validation_size(n_samples, split)
    order = np.arange(n_samples)
    np.random.RandomState(seed).shuffle(order)
    if labels is None:
        return order[size:], order[:size]
    labels = np.asarray(labels)[order]
    # Every class is spread evenly over [0, 1): the first `size` samples hold each in proportion.
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
    """Weights of the samples at ``indices`` under which all classes are drawn equally often.

    Raises:
        UserError: the dataset does not tell its classes, or has several labels for a sample.
    """
    labels = np.asarray(get_labels(dataset, "sampler"))[np.asarray(indices)]
    if labels.ndim != 1:
        shape = labels.shape[1:]
        raise UserError(
            f"sampler: class_balanced needs one class a sample, not labels of shape {shape}"
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
    """The class of every sample, if the dataset tells it without reading the samples.

    Args:
        dataset: of torch's or torchvision's kind.
        argument: that needs the classes, for the error.

    Raises:
        UserError: the dataset does not tell.
    """
    for name in LABEL_ATTRIBUTES:
        labels = getattr(dataset, name, None)
        if isinstance(labels, Sized) and len(labels) == len(dataset):
            return labels
    if hasattr(dataset, "tensors"):
        return dataset.tensors[-1]
    if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):  # torch's Subset
        return np.asarray(get_labels(dataset.dataset, argument))[dataset.indices]
    name = type(dataset).__name__
    raise UserError(f"{argument}: {name} has no `targets` or `labels` that tell the classes")
