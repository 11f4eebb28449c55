"""A cache for datasets: decodes each sample once, and keeps it in memory as compact tensors."""

from __future__ import annotations

import copy
import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from base.data.cache_check import CacheCheck
from base.data.split import LABEL_ATTRIBUTES
from base.data.worker import InMemoryDataset
from logger.progress import progress
from utils.distributed import (
    local_rank,
    local_world_size,
    receive_from_first_local_rank,
    send_to_local_ranks,
)
from utils.errors import UserError

SETTABLE = ("tensors", "transform", "is_image", "dataset")  # attributes of a cached dataset
MAX_MEMORY_FRACTION = 0.5  # the largest fraction of the free memory for one dataset

# Numbers the caches of this process. All ranks make the same caches in the same order.
_cache_numbers = itertools.count()

Array = np.ndarray[Any, Any]


class _Field(NamedTuple):
    """The shape and dtype of one component of each sample."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def with_transform(dataset: Any, transform: Any) -> Any:
    """Returns a copy of a torchvision-style ``dataset`` with another ``transform``.

    Raises:
        UserError: the dataset has no ``transform`` attribute.
    """
    if not hasattr(dataset, "transform"):
        message = f"{type(dataset).__name__} has no `transform` attribute to replace"
        raise UserError(message, key="eval_transform")
    changed = copy.copy(dataset)
    changed.transform = transform
    if hasattr(changed, "transforms") and hasattr(changed, "target_transform"):
        # torchvision keeps a second transform, which combines those of input and target.
        from torchvision.datasets.vision import StandardTransform

        changed.transforms = StandardTransform(transform, changed.target_transform)
    return changed


class CachedDataset(InMemoryDataset):
    """The samples ``(input, target, …)`` of a dataset, as one tensor for each component.

    The framework reads ``classes``, ``targets`` and ``samples`` of datasets, so these are
    available here. Other attributes of the cached dataset are found in ``dataset``.

    Args:
        tensors: one tensor for each component, with equal lengths. The first holds the inputs;
            images are uint8, shape (N, C, H, W).
        transform: changes an input; without one, full batches can be read at once.
        is_image: whether ``transform`` takes a PIL image.
        dataset: the dataset that was cached.
    """

    def __init__(
        self, *tensors: torch.Tensor, transform: Any, is_image: bool, dataset: Dataset[Any]
    ) -> None:
        super().__init__(*tensors)
        self.transform = transform
        self.is_image = is_image
        self.dataset = dataset

    def __setattr__(self, name: str, value: Any) -> None:
        refuse_new_attribute(self, name, SETTABLE, "data_loader.args.cache")
        super().__setattr__(name, value)

    @property
    def is_plain_tensors(self) -> bool:
        return self.transform is None

    @property
    def classes(self) -> Any:
        """The class names of the dataset, also if it is inside a Subset; None if it has none."""
        return getattr(_find_source(self.dataset), "classes", None)

    @property
    def targets(self) -> Any:
        """The labels of the dataset, in the form of torchvision's datasets; None if unknown."""
        names = [name for name in LABEL_ATTRIBUTES if hasattr(self.dataset, name)]
        return getattr(self.dataset, names[0]) if names else None

    @property
    def samples(self) -> Any:
        """The files of the dataset, in the form of torchvision's ImageFolder; None if unknown."""
        return getattr(self.dataset, "samples", None)

    def __getitem__(self, index: Any) -> Any:
        first, *rest = (tensor[index] for tensor in self.tensors)
        if self.transform is not None:
            if self.is_image:
                from torchvision.transforms.v2.functional import to_pil_image

                first = to_pil_image(first)
            first = self.transform(first)
        return (first, *rest)


def refuse_new_attribute(dataset: Any, name: str, known: Sequence[str], key: str) -> None:
    """Refuses to set an attribute that nothing would read.

    Args:
        dataset: holds samples that were read from another dataset, whose attribute may be meant.
        name: of the attribute.
        known: the attributes of ``dataset`` itself.
        key: the option of the config that has made ``dataset``.

    Raises:
        UserError: ``name`` is not among ``known``.
    """
    if name not in known:
        message = f"the samples are in a {type(dataset).__name__} and are not read again, so"
        message = f"{message} setting its `{name}` has no effect; set it in the constructor of your"
        raise UserError(f"{message} dataset, or turn this option off", key=key)


def _find_source(dataset: Any) -> Any:
    """Returns the dataset inside one or several Subsets, or ``dataset`` itself."""
    while hasattr(dataset, "dataset") and hasattr(dataset, "indices"):
        dataset = dataset.dataset
    return dataset


def cache_dataset(dataset: Dataset[Any]) -> CachedDataset:
    """Reads every sample of ``dataset`` once, without its ``transform``.

    Only the first rank of each machine reads. The other ranks map the same memory.

    Raises:
        UserError: the samples do not fit into memory, differ in shape, are random, or are no tuples
            of images and numbers.
    """
    if isinstance(dataset, CachedDataset):
        return dataset
    transform = getattr(dataset, "transform", None)
    source: Any = dataset if transform is None else with_transform(dataset, None)
    sample = source[0]
    fields = [_Field(array.shape, array.dtype) for array in _to_arrays(sample)]
    arrays = _read_shared(source, fields) if _is_memory_shared() else _read(source, fields)
    return CachedDataset(
        *map(torch.from_numpy, arrays),
        transform=transform,
        is_image=_is_image(sample[0]),
        dataset=dataset,
    )


def _is_memory_shared() -> bool:
    """Whether several ranks run on this machine and can share memory, which needs Linux."""
    return local_world_size() > 1 and hasattr(os, "memfd_create")


def _read(source: Any, fields: Sequence[_Field]) -> list[Array]:
    _check_memory(len(source), fields)
    arrays: list[Array] = [np.empty((len(source), *shape), dtype) for shape, dtype in fields]
    _fill(arrays, source, fields)
    return arrays


def _read_shared(source: Any, fields: Sequence[_Field]) -> list[Array]:
    """Like ``_read``, but the first rank of this machine reads, and the others map its memory."""
    key = f"cache {next(_cache_numbers)}"
    if local_rank() != 0:
        return _map_files(receive_from_first_local_rank(key), len(source), fields)
    _check_memory(len(source), fields)
    # The system deletes a file in memory when the last process that uses it has ended.
    paths = [f"/proc/{os.getpid()}/fd/{os.memfd_create(key)}" for _ in fields]
    arrays = _map_files(paths, len(source), fields)
    _fill(arrays, source, fields)
    send_to_local_ranks(key, paths)
    return arrays


def _map_files(paths: Sequence[str], num_samples: int, fields: Sequence[_Field]) -> list[Array]:
    return [
        np.memmap(path, dtype, "r+", shape=(num_samples, *shape))
        for path, (shape, dtype) in zip(paths, fields, strict=True)
    ]


def _check_memory(num_samples: int, fields: Sequence[_Field]) -> None:
    sample_bytes = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in fields)
    size = num_samples * sample_bytes
    free = get_free_memory()
    if free is not None and size > MAX_MEMORY_FRACTION * free:
        needed = f"the {num_samples:,} samples take {size / 1e9:.1f} GB"
        message = f"{needed}, and {free / 1e9:.1f} GB are free; turn it off"
        raise UserError(message, key="cache")


def _fill(arrays: Sequence[Array], source: Any, fields: Sequence[_Field]) -> None:
    """Reads all samples into ``arrays``.

    Raises:
        UserError: a sample has another shape or dtype than the first one, or samples are random.
    """
    check = CacheCheck(source, _to_arrays)
    indices = range(len(source))
    logger = logging.getLogger("cache")
    for index in progress(indices, len(source), "reading the data into memory", logger):
        values = _to_arrays(source[index])
        for array, value, field in zip(arrays, values, fields, strict=True):
            if (value.shape, value.dtype) != field:
                raise UserError(
                    f"sample {index} has {value.dtype} {value.shape} where the first one has "
                    f"{field.dtype} {field.shape}; only samples of one shape can be cached "
                    "(resize the files, or turn it off)",
                    key="cache",
                )
            array[index] = value
    check.finish(list(arrays))


def _is_image(value: Any) -> bool:
    """Whether a value is a PIL image, without importing PIL."""
    return hasattr(value, "getbands")


def _to_arrays(sample: Any) -> list[Array]:
    """Returns the components of a sample as arrays; an image has the shape (C, H, W).

    Raises:
        UserError: the sample is no tuple of images and numbers.
    """
    if not isinstance(sample, tuple | list) or not sample:
        message = f"a sample is a {type(sample).__name__}, not a tuple of an input and a target"
        raise UserError(message, key="cache")
    arrays = [np.asarray(value) for value in sample]
    if _is_image(sample[0]):  # (H, W) or (H, W, C)
        is_gray = arrays[0].ndim == 2
        arrays[0] = arrays[0][None] if is_gray else arrays[0].transpose(2, 0, 1)
    for value, array in zip(sample, arrays, strict=True):
        if array.dtype.kind not in "biuf":
            kind = type(value).__name__
            message = f"a sample holds a {kind}; only images and numbers can be cached"
            raise UserError(message, key="cache")
    return arrays


def get_free_memory() -> int | None:
    """Returns the available memory of this machine in bytes; None if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        values = dict(line.split(":") for line in lines)
        return int(values["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
