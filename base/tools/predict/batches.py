"""Makes batches of inputs without targets, as a loader makes them of samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import default_collate

from base.base_data_loader import BaseDataLoader
from base.data.fitting import find_dataset
from base.data.loader import unwrap_loader
from utils.batch import TARGET_KEYS, find_target, is_sequence
from utils.errors import UserError, name_error
from utils.seed import temporary_seed

MAX_BATCH_SIZE = 64
SEED = 0  # of collate functions and transforms that draw random numbers


class BatchMaker:
    """Makes batches by a loader's collate function and its transform of batches.

    A collate function takes samples with a target. Inputs get that of the dataset's first sample,
    which no prediction depends on.

    Args:
        loader: for the model's data, of this framework, of torch or of the user.

    Attributes:
        batch_size: the loader's, at most ``MAX_BATCH_SIZE``.
        first: the input of the dataset's first sample.

    Raises:
        UserError: the loader has no samples, or does not make batches of them.
    """

    def __init__(self, loader: Any) -> None:
        self.loader, self.dataset = unwrap_loader(loader), find_dataset(loader)
        if self.dataset is None or getattr(self.loader, "batch_sampler", True) is None:
            message = "whose items are batches" if self.dataset is not None else "without a dataset"
            name = type(self.loader).__name__
            raise UserError(f"--predict: {name} is a loader {message}, so no batch can be made")
        self.collate = getattr(self.loader, "collate_fn", None) or default_collate
        size = getattr(self.loader, "batch_size", None)
        self.batch_size = min(size or MAX_BATCH_SIZE, MAX_BATCH_SIZE)
        self._sample = read_first(self.dataset)
        self.first = take_input(self._sample)

    def make_batch(self, inputs: list[Any]) -> Any:
        """Makes a batch in a form that ``split_target`` accepts."""
        with temporary_seed(SEED):
            batch = self.collate([put_input(self._sample, value) for value in inputs])
            if isinstance(self.loader, BaseDataLoader):
                batch = self.loader.transform(batch, SEED)
        is_mapping = isinstance(batch, Mapping)
        has_target = find_target(batch) is not None if is_mapping else is_sequence(batch)
        return batch if has_target else (batch, None)

    def compare(self, value: Any) -> str:
        """Says how an input differs from those of the dataset in its form; empty if it does not."""
        return compare(value, self.first)


def read_first(dataset: Any) -> Any:
    """Reads the first sample of a dataset.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return dataset[0] if hasattr(dataset, "__getitem__") else next(iter(dataset))
    except NotImplementedError:  # an IterableDataset of torch has the method
        return next(iter(dataset))
    except Exception as error:  # the user's dataset may raise anything
        message = f"the first sample of {type(dataset).__name__} cannot be read"
        raise UserError(f"--predict: {message}: {name_error(error)}") from None


def take_input(sample: Any) -> Any:
    """The input in a sample: without its target, in the forms of ``split_target``."""
    if is_sequence(sample) and len(sample) >= 2:
        return sample[0] if len(sample) == 2 else tuple(sample[:-1])
    if isinstance(sample, Mapping):
        target = find_target_key(sample)
        return {key: value for key, value in sample.items() if key != target}
    return sample


def put_input(sample: Any, value: Any) -> Any:
    """A sample with ``value`` as its input and the target of ``sample``."""
    if is_sequence(sample) and len(sample) >= 2:
        inputs = (value,) if len(sample) == 2 else tuple(value)
        return (*inputs, sample[-1])
    if isinstance(sample, Mapping):
        target = find_target_key(sample)
        return dict(value) if target is None else {**value, target: sample[target]}
    return value


def find_target_key(sample: Mapping[Any, Any]) -> str | None:
    """The key of the target, as ``split_target`` chooses it."""
    return next((key for key in TARGET_KEYS if key in sample), None)


def compare(found: Any, expected: Any) -> str:
    """Says how a value differs from another one in type, dtype, dimensions or keys.

    Sizes may differ, as those of texts do.
    """
    described = [describe(value) for value in (found, expected)]
    if described[0] != described[1]:
        return f"{described[0]} instead of {described[1]}"
    pairs: list[tuple[Any, Any, Any]] = []
    if isinstance(expected, Mapping):
        pairs = [(key, found[key], value) for key, value in expected.items()]
    elif isinstance(expected, tuple):
        pairs = [(i, *values) for i, values in enumerate(zip(found, expected, strict=True))]
    for key, value, other in pairs:
        if difference := compare(value, other):
            return f"in {key!r} {difference}"
    return ""


def describe(value: Any) -> str:
    """Describes the form of an input."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of {value.ndim} dimensions and {value.dtype}"
    if isinstance(value, Mapping):
        return f"a mapping with {', '.join(sorted(map(str, value))) or 'no keys'}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"of type {type(value).__name__}"
