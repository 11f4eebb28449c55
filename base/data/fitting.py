"""Datasets with statistics of the training part, such as the mean of each column of a table.

Such a dataset has two members:

- ``fit_to(indices)`` computes the statistics from these samples only. The loader calls it after it
  has split the dataset.
- ``fitted``: the statistics, as plain numbers, texts, lists and dicts; None before ``fit_to``.
  Checkpoints hold them. The framework sets them when a run resumes, and for validation and test
  data, which must be scaled like the training data.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from base.data.epoch_sampler import Array
from utils.errors import UserError

KEY = "fitted"  # in the description of a loader's data
FITTED_ON_ALL = (
    "%s has fitted its target_transform %s before the split. If the fit included validation "
    "samples, the validation is too good: give the dataset a method fit_to(indices)."
)
MAX_DEPTH = 20  # of datasets inside datasets


def find_dataset(loader: Any) -> Any:
    """The dataset of a loader of any class, also behind ``inf_loop``; None if it has none."""
    from base.data.loader import unwrap_loader

    return getattr(unwrap_loader(loader), "dataset", None)


def locate(dataset: Any) -> Any:
    """The dataset inside ``Subset`` and other wrappers that name it ``dataset``."""
    for _ in range(MAX_DEPTH):
        inner = getattr(dataset, "dataset", None)
        if inner is None or is_fitted_on_samples(dataset):
            break
        dataset = inner
    return dataset


def is_fitted_on_samples(dataset: Any) -> bool:
    """Whether a dataset has ``fit_to``."""
    return callable(getattr(type(dataset), "fit_to", None))


def find_fitted_dataset(dataset: Any) -> Any:
    """The dataset with ``fit_to``, which may be inside others; None if there is none.

    Raises:
        UserError: it is in a ``ConcatDataset``, whose members would each be fitted separately.
    """
    inner = locate(dataset)
    for member in _list_members(inner):
        if is_fitted_on_samples(locate(member)):
            kinds = f"{type(inner).__name__} of {type(locate(member)).__name__}"
            message = "each would be scaled in its own way; join the series or tables before"
            raise UserError(f"a {kinds}: {message}")
    return inner if is_fitted_on_samples(inner) else None


def warn_if_fitted_on_all(dataset: Any) -> None:
    """Warns of a target transform that a dataset has fitted before it was split."""
    inner = locate(dataset)
    transform = getattr(inner, "target_transform", None)
    can_fit = callable(getattr(transform, "fit", None))
    if can_fit and not is_fitted_on_samples(inner):
        logging.getLogger("data_loader").warning(FITTED_ON_ALL, type(inner).__name__, transform)


def _list_members(dataset: Any) -> list[Any]:
    members = getattr(dataset, "datasets", None)  # of a ConcatDataset
    return members if isinstance(members, list) else []


def fit_dataset(dataset: Any, indices: Array) -> None:
    """Fits a dataset on its samples at ``indices``.

    Args:
        dataset: has ``fit_to``, or is a ``Subset`` of such a dataset.
        indices: of the training part, in ``dataset``.

    Raises:
        UserError: the dataset is inside a wrapper whose indices have another meaning.
    """
    while not is_fitted_on_samples(dataset):
        inside = getattr(dataset, "indices", None)
        if inside is None:
            inner, outer = type(locate(dataset)).__name__, type(dataset).__name__
            message = f"{inner} is fitted on the training part, which a {outer} around it hides"
            raise UserError(f"{message}; leave that out, or give a Subset")
        indices = np.asarray(inside)[indices]
        dataset = dataset.dataset
    dataset.fit_to(indices)


def describe_fit(dataset: Any) -> dict[str, Any]:
    """The fit of a dataset as plain values, for checkpoints; empty if it has none."""
    inner = find_fitted_dataset(dataset)
    return {} if inner is None or inner.fitted is None else {KEY: inner.fitted}


def take_over_fit(loader: Any, trained_on: Mapping[str, Any] | None) -> None:
    """Gives a dataset the fit of the training data.

    Args:
        loader: of any class.
        trained_on: ``describe_data`` of the training data. None if this is their loader; then the
            dataset is fitted on all its samples, unless it is fitted already.
    """
    dataset = find_dataset(loader)
    inner = find_fitted_dataset(dataset)
    if inner is None:
        return
    if trained_on is not None and trained_on.get(KEY) is not None:
        inner.fitted = trained_on[KEY]
    elif inner.fitted is None:
        fit_dataset(dataset, np.arange(len(inner if dataset is None else dataset)))


def restore_fit(
    objects: Mapping[str, Any], environment: Mapping[str, Any], logger: logging.Logger
) -> None:
    """Gives the datasets of a resumed run the fit of the checkpoint, which its weights need.

    Args:
        objects: the attributes of a trainer.
        environment: of the checkpoint.
        logger: gets a warning if the training data have another fit now.
    """
    saved = environment.get(KEY)
    if saved is None:
        return
    for number, inner in enumerate(_list_fitted(objects)):
        if number == 0 and inner.fitted != saved:
            message = "The training data have changed. They are scaled as at the start of the run."
            logger.warning(message)
        inner.fitted = saved


def _list_fitted(objects: Mapping[str, Any]) -> Iterator[Any]:
    from base.data.loader import list_sets

    for name in ("data_loader", "valid_data_loader"):
        for _, loader in list_sets(objects.get(name)):
            inner = find_fitted_dataset(find_dataset(loader))
            if inner is not None:
                yield inner
