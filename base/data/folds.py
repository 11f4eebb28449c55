"""Folds for a cross-validation, and splits that do not divide groups, by scikit-learn."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sized
from typing import Any

import numpy as np

from base.data.cache import CachedDataset
from base.data.epoch_sampler import Array
from base.data.split import find_values
from utils.errors import UserError, did_you_mean
from utils.seed import temporary_seed

CLASSES_SHOWN = 5


def split_folds(
    n_samples: int, folds: int, fold: int, seed: int = 0, labels: Any = None, groups: Any = None
) -> tuple[Array, Array]:
    """Splits ``range(n_samples)`` into ``folds`` parts, one of which is for validation.

    Every sample is in exactly one fold. The folds depend on the arguments except ``fold`` only.

    Source: scikit-learn's ``KFold``, ``StratifiedKFold``, ``GroupKFold`` and
    ``StratifiedGroupKFold``, each with ``shuffle=True, random_state=seed``.

    Args:
        n_samples: the number of samples in the dataset.
        folds: the number of folds.
        fold: the fold for validation, from 1 to ``folds``.
        seed: the seed of the shuffling.
        labels: the class of each sample, shape ``(n_samples,)``. With labels, each class is in all
            folds in the same proportion.
        groups: the group of each sample, shape ``(n_samples,)``. A group is in one fold.

    Returns:
        The sorted indices for training, and those for validation.

    Raises:
        UserError: a fold would be empty, or each class has fewer samples than there are folds.
    """
    if folds > n_samples:
        raise UserError(f"{folds} folds need at least {folds} samples, not {n_samples}", "folds")
    n_groups = folds if groups is None else len(np.unique(groups))
    if folds > n_groups:
        raise UserError(f"{folds} folds need at least {folds} groups, not {n_groups}", "folds")
    labels = None if labels is None else _encode_labels(labels, folds)
    with temporary_seed(seed):  # the first import of sklearn may draw random numbers
        from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

        if groups is None:
            kind = KFold if labels is None else StratifiedKFold
        else:
            kind = GroupKFold if labels is None else StratifiedGroupKFold
        splitter = kind(folds, shuffle=True, random_state=seed)
        return _choose(splitter, fold, n_samples, labels, groups)


def split_groups(
    groups: Any, fraction: float, seed: int = 0, labels: Any = None
) -> tuple[Array, Array]:
    """Splits samples into a training and a validation part, and divides no group.

    Source: scikit-learn's ``GroupShuffleSplit``. With labels, the validation part is the first of
    ``round(1 / fraction)`` folds of ``StratifiedGroupKFold``.

    Args:
        groups: the group of each sample, shape ``(N,)``.
        fraction: of the groups for validation. With labels, about this fraction of the samples.
        seed: the seed of the shuffling.
        labels: the class of each sample, shape ``(N,)``. With labels, each class is in both parts
            in about the same proportion.

    Returns:
        The indices for training, and those for validation.

    Raises:
        UserError: a part would be empty.
    """
    if labels is not None:
        try:
            return split_folds(len(groups), round(1 / fraction), 1, seed, labels, groups)
        except UserError as error:
            message = f"{fraction}: {error.problems[0].message}"
            raise UserError(message, key="validation_split") from None
    with temporary_seed(seed):
        from sklearn.model_selection import GroupShuffleSplit

        splitter = GroupShuffleSplit(1, test_size=fraction, random_state=seed)
        try:
            return _choose(splitter, 1, len(groups), None, groups)
        except ValueError:
            message = f"{fraction} of {len(np.unique(groups))} groups leaves one part empty"
            raise UserError(message, key="validation_split") from None


def _choose(
    splitter: Any, fold: int, n_samples: int, labels: Any, groups: Any
) -> tuple[Array, Array]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # said already
        train, valid = list(splitter.split(np.zeros(n_samples), labels, groups))[fold - 1]
    if not len(train) or not len(valid):  # of a few groups of very different sizes
        raise UserError(f"fold {fold} would be empty; use fewer folds", key="folds")
    return train, valid


def _encode_labels(labels: Any, folds: int) -> Array:
    """Numbers the classes. Warns of those that have fewer samples than there are folds."""
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        message = f"needs one class per sample, not labels of shape {labels.shape[1:]}"
        raise UserError(message, key="stratify")
    classes, encoded, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rare = classes[counts < folds]
    if len(rare) == len(classes):
        message = f"none of the {len(classes)} classes has {folds} samples, one for each fold"
        raise UserError(f"{message}; are they classes, or numbers?", key="stratify")
    if len(rare):
        shown = ", ".join(map(str, rare[:CLASSES_SHOWN].tolist()))
        shown += ", …" if len(rare) > CLASSES_SHOWN else ""
        message = "stratify: %d of %d classes have fewer samples than there are folds: %s"
        logging.getLogger("data_loader").warning(message, len(rare), len(classes), shown)
    return encoded


def find_groups(dataset: Any, groups: Any) -> Array:
    """Returns the number of the group of each sample, shape ``(len(dataset),)`` int.

    Args:
        dataset: map-style.
        groups: a value for each sample, or the name of the attribute or column that holds them.

    Raises:
        UserError: there is not one value for each sample.
    """
    values = _find_named_groups(dataset, groups) if isinstance(groups, str) else groups
    try:
        array = np.asarray(values)
    except ValueError:
        message = "needs one value for each sample, not lists of different lengths"
        raise UserError(message, key="groups") from None
    if array.ndim != 1:
        message = f"needs one value for each sample, not values of shape {array.shape[1:]}"
        raise UserError(message, key="groups")
    if len(array) != len(dataset):
        message = f"{len(array)} values do not fit the {len(dataset)} samples"
        raise UserError(message, key="groups")
    # Among texts, numpy makes the text "nan" of NaN.
    for index, value in enumerate(values if isinstance(values, list) else array.tolist()):
        if value is None or value != value:  # NaN
            raise UserError(f"sample {index} has no value ({value})", key="groups")
    try:
        return np.asarray(np.unique(array, return_inverse=True)[1])
    except TypeError:
        raise UserError("the values have types that cannot be compared", key="groups") from None


def _find_named_groups(dataset: Any, name: str) -> Any:
    while isinstance(dataset, CachedDataset):
        dataset = dataset.dataset
    values = find_values(dataset, [name], [name])
    if values is None:
        kind, attribute = type(dataset).__name__, getattr(dataset, name, None)
        if isinstance(attribute, Sized):
            message = f"{kind}.{name} has {len(attribute)} values for {len(dataset)} samples"
            raise UserError(message, key="groups")
        known = [*(getattr(dataset, "column_names", None) or ()), *getattr(dataset, "__dict__", ())]
        message = f"{kind} has no attribute or column '{name}' with a value for each sample"
        raise UserError(message + did_you_mean(name, known), key="groups")
    return values
