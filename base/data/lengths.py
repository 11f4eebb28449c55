"""The lengths of the samples of a dataset."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from base.data.epoch_sampler import Array
from base.data.generators import reseeded
from base.data.walk import find_generators
from utils.errors import UserError
from utils.seed import temporary_seed

MAX_READ = 1_000_000  # samples that are read to learn their lengths
MIN_SECONDS_LOGGED = 2.0
ATTRIBUTE, COLUMN = "lengths", "length"  # where lengths are found by default
SEED = 0  # of the random numbers that the samples draw


def find_lengths(dataset: Any, name: str | None = None) -> Array:
    """Finds the lengths of all samples, shape ``(len(dataset),)``, int64.

    They are a column or an attribute of the dataset if it has one of this name. Otherwise, each
    sample is read once.

    Args:
        dataset: map-style.
        name: of a column, an attribute (or method without arguments), or a field of the samples;
            for samples that are tuples, the number of the field.

    Raises:
        UserError: there are no such lengths.
    """
    if name is None:
        names = (ATTRIBUTE, COLUMN)
        found = next((v for v in (_find_column(dataset, n) for n in names) if v is not None), None)
        if found is None:
            message = f"{type(dataset).__name__} has no attribute `{ATTRIBUTE}`"
            message += f" or column `{COLUMN}`; name the field whose length counts"
            raise UserError(message, key="lengths")
    else:
        found = _find_column(dataset, name)
        if found is None:
            found = _read_field(dataset, name)
    lengths = np.asarray(found)
    if lengths.shape != (len(dataset),) or lengths.dtype.kind not in "iu" or lengths.min() < 0:
        message = f"'{name or ATTRIBUTE}' must give one count for each of {len(dataset)} samples"
        raise UserError(message, key="lengths")
    return lengths.astype(np.int64)


def _find_column(dataset: Any, name: str) -> list[int] | None:
    """The lengths in a column or attribute of a dataset; None if it has none of this name."""
    if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):  # torch's Subset
        inner = _find_column(dataset.dataset, name)
        return None if inner is None else [inner[index] for index in dataset.indices]
    if name in (getattr(dataset, "column_names", None) or ()):  # of HuggingFace
        values = dataset.with_format(None)[name]
    else:
        values = getattr(dataset, name, None) if name.isidentifier() else None
        values = values() if callable(values) else values
    if values is None or isinstance(values, str | bytes):
        return None
    return [_measure(value, name) for value in values]


def _read_field(dataset: Any, name: str) -> list[int]:
    """The lengths of a field; reads every sample once, which changes no random numbers."""
    if len(dataset) > MAX_READ:
        message = f"{len(dataset):,} samples are too many to read; give the dataset an attribute "
        raise UserError(f"{message}`{ATTRIBUTE}`, or a column `{COLUMN}`", key="lengths")
    start = time.perf_counter()
    lengths = []
    with temporary_seed(SEED), reseeded(find_generators({"dataset": dataset}), SEED):
        for index in range(len(dataset)):
            lengths.append(_measure(_get_field(dataset[index], name), name))
    seconds = time.perf_counter() - start
    if seconds > MIN_SECONDS_LOGGED:
        logging.getLogger("data_loader").info(
            "All %d samples were read once to learn their lengths, which took %.0f s. An attribute "
            "`%s` of the dataset saves this.",
            len(dataset),
            seconds,
            ATTRIBUTE,
        )
    return lengths


def _get_field(sample: Any, name: str) -> Any:
    if isinstance(sample, Mapping) and name in sample:
        return sample[name]
    if isinstance(sample, tuple) and hasattr(sample, name):  # a namedtuple
        return getattr(sample, name)
    if isinstance(sample, list | tuple) and name.isdecimal() and int(name) < len(sample):
        return sample[int(name)]
    names = range(len(sample)) if isinstance(sample, list | tuple) else sample
    choices = ", ".join(map(str, names)) if isinstance(names, range | Mapping) else ""
    hint = f"; its fields are {choices}" if choices else ""
    message = f"the dataset has no column or attribute '{name}', and a sample no such field{hint}"
    raise UserError(message, key="lengths")


def _measure(value: Any, name: str) -> int:
    """A length: the value itself if it is an integer, otherwise its ``len``."""
    is_number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if is_number or (isinstance(value, torch.Tensor) and value.ndim == 0):
        return int(value)
    try:
        return len(value)
    except TypeError:
        message = f"'{name}' is a {type(value).__name__}, which has no length"
        raise UserError(message, key="lengths") from None
