"""A dataset kept in memory as compact tensors: decoded once, then read a batch at a time."""

from __future__ import annotations

import copy
import itertools
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, TensorDataset

from logger.progress import progress
from utils.distributed import (
    local_rank,
    local_world_size,
    receive_from_first_local_rank,
    send_to_local_ranks,
)
from utils.errors import UserError

_NUMBERS = itertools.count()  # of the caches of this process: as those of the others count


def with_transform(dataset: Any, transform: Any) -> Any:
    """A copy of a torchvision-style ``dataset`` that reads the same samples under another ``transform``.

    Raises:
        UserError: the dataset has no ``transform`` attribute.
    """
    if not hasattr(dataset, "transform"):
        raise UserError(
            f"eval_transform: {type(dataset).__name__} has no `transform` attribute to replace"
        )
    changed = copy.copy(dataset)
    changed.transform = transform
    if hasattr(changed, "transforms") and hasattr(changed, "target_transform"):
        from torchvision.datasets.vision import (
            StandardTransform,
        )  # torchvision keeps a second, combined one

        changed.transforms = StandardTransform(transform, changed.target_transform)
    return changed


class Cached(TensorDataset):
    """``(input, target, …)`` samples as one tensor for each place, of uint8 where they were images.

    Args:
        tensors: of equal length.
        transform: for the first place of a sample; None leaves whole batches to be read at once.
        as_picture: give ``transform`` a PIL image, as the dataset did.
        dataset: what was read, whose other attributes (``classes``, ``targets``) it still has.
    """

    def __init__(
        self, *tensors: torch.Tensor, transform: Any, as_picture: bool, dataset: Any
    ) -> None:
        super().__init__(*tensors)
        self.transform, self.as_picture, self.dataset = transform, as_picture, dataset

    def __getitem__(self, index: Any) -> Any:
        first, *rest = (tensor[index] for tensor in self.tensors)
        if self.transform is not None:
            if self.as_picture:
                from torchvision.transforms.v2.functional import to_pil_image

                first = to_pil_image(first)
            first = self.transform(first)
        return (first, *rest)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "dataset" not in vars(self):
            raise AttributeError(name)
        return getattr(self.dataset, name)


def cached(dataset: Dataset[Any]) -> Cached:
    """Reads all of ``dataset`` once, before its ``transform``: of a machine's ranks the first, for all of them.

    Raises:
        UserError: it would not fit in memory, its samples differ in shape, or are no tuples of images and numbers.
    """
    if isinstance(dataset, Cached):
        return dataset
    transform = getattr(dataset, "transform", None)
    plain: Any = dataset if transform is None else with_transform(dataset, None)
    first = _places(plain[0])
    shapes = [((len(plain), *part.shape), part.dtype) for part in first]
    shared = local_world_size() > 1 and hasattr(
        os, "memfd_create"
    )  # files in memory, without a name that is left behind
    own, key = not shared or local_rank() == 0, f"cache {next(_NUMBERS)}"
    size = len(plain) * sum(part.nbytes for part in first)
    if own and (free := free_memory()) is not None and size > free / 2:
        raise UserError(
            f"cache: the {len(plain):,} samples take {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
        )
    if shared:
        paths = (
            [f"/proc/{os.getpid()}/fd/{os.memfd_create(key)}" for _ in first]
            if own
            else receive_from_first_local_rank(key)
        )
        whole: list[Any] = [
            np.memmap(path, dtype, "r+", shape=shape)
            for path, (shape, dtype) in zip(paths, shapes, strict=True)
        ]
    else:
        whole = [np.empty(*shape) for shape in shapes]
    if own:
        _fill(whole, plain, first)
    if shared and own:
        send_to_local_ranks(key, paths)
    tensors = map(torch.from_numpy, whole)  # forked workers share them as they are
    return Cached(
        *tensors, transform=transform, as_picture=hasattr(plain[0][0], "getbands"), dataset=dataset
    )


def _fill(whole: list[Any], plain: Any, like: list[Any]) -> None:
    """Reads the samples of ``plain``, of which ``like`` is the first. Raises UserError."""
    for index in progress(
        range(len(plain)), len(plain), "reading the data into memory", logging.getLogger("cache")
    ):
        for place, part, first in zip(whole, _places(plain[index]), like, strict=True):
            if (part.shape, part.dtype) != (first.shape, first.dtype):
                raise UserError(
                    f"cache: sample {index} has {part.dtype} {part.shape} where the first one has {first.dtype} "
                    f"{first.shape}; only samples of one shape can be kept (Resize them on the disk, or leave it off)"
                )
            place[index] = part


def _places(sample: Any) -> list[np.ndarray[Any, Any]]:
    """The places of a sample as arrays. Raises UserError."""
    if not isinstance(sample, tuple | list) or not sample:
        raise UserError(
            f"cache: a sample is a {type(sample).__name__}, not a tuple of an input and a target"
        )
    arrays = [np.asarray(part) for part in sample]
    if hasattr(sample[0], "getbands"):  # PIL's are (H, W) or (H, W, C)
        arrays[0] = arrays[0][None] if arrays[0].ndim == 2 else arrays[0].transpose(2, 0, 1)
    for part, array in zip(sample, arrays, strict=True):
        if array.dtype.kind not in "biuf":
            raise UserError(
                f"cache: a sample holds a {type(part).__name__}; only images and numbers can be kept"
            )
    return arrays


def free_memory() -> int | None:
    """Bytes that this machine has to give; None where it does not tell."""
    try:
        lines = dict(
            line.split(":")
            for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        )
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def is_tensors(dataset: Any) -> bool:
    """Whether a dataset is nothing but tensors, of which whole batches can be read at once."""
    return type(dataset) is TensorDataset or (type(dataset) is Cached and dataset.transform is None)
