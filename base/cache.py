"""A dataset kept in memory as compact tensors: decoded once, then read a batch at a time."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, TensorDataset

from logger.progress import progress
from utils.errors import UserError


def with_transform(dataset: Any, transform: Any) -> Any:
    """A copy of a torchvision-style ``dataset`` that reads the same samples under another ``transform``.

    Raises:
        UserError: the dataset has no ``transform`` attribute.
    """
    if not hasattr(dataset, "transform"):
        raise UserError(f"eval_transform: {type(dataset).__name__} has no `transform` attribute to replace")
    changed = copy.copy(dataset)
    changed.transform = transform
    if hasattr(changed, "transforms") and hasattr(changed, "target_transform"):
        from torchvision.datasets.vision import StandardTransform  # torchvision keeps a second, combined one

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

    def __init__(self, *tensors: torch.Tensor, transform: Any, as_picture: bool, dataset: Any) -> None:
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
    """Reads all of ``dataset`` once, before its ``transform``.

    Raises:
        UserError: it would not fit in memory, its samples differ in shape, or are no tuples of images and numbers.
    """
    if isinstance(dataset, Cached):
        return dataset
    transform = getattr(dataset, "transform", None)
    plain: Any = dataset if transform is None else with_transform(dataset, None)
    n_samples = len(plain)
    first = _places(plain[0])
    size = n_samples * sum(part.nbytes for part in first)
    if (free := free_memory()) is not None and size > free / 2:
        raise UserError(f"cache: the {n_samples:,} samples take {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")
    whole = [np.empty((n_samples, *part.shape), part.dtype) for part in first]
    for index in progress(range(n_samples), n_samples, "reading the data into memory", logging.getLogger("cache")):
        for place, part, like in zip(whole, _places(plain[index]), first, strict=True):
            if (part.shape, part.dtype) != (like.shape, like.dtype):
                raise UserError(
                    f"cache: sample {index} has {part.dtype} {part.shape} where the first one has {like.dtype} "
                    f"{like.shape}; only samples of one shape can be kept (Resize them on the disk, or leave it off)"
                )
            place[index] = part
    tensors = [torch.from_numpy(place) for place in whole]  # forked workers share them as they are
    as_picture = hasattr(plain[0][0], "getbands")
    if as_picture:  # PIL's are (H, W) or (H, W, C)
        tensors[0] = tensors[0].unsqueeze(1) if tensors[0].ndim == 3 else tensors[0].permute(0, 3, 1, 2).contiguous()
    return Cached(*tensors, transform=transform, as_picture=as_picture, dataset=dataset)


def _places(sample: Any) -> list[np.ndarray[Any, Any]]:
    """The places of a sample as arrays. Raises UserError."""
    if not isinstance(sample, tuple | list) or not sample:
        raise UserError(f"cache: a sample is a {type(sample).__name__}, not a tuple of an input and a target")
    arrays = [np.asarray(part) for part in sample]
    for part, array in zip(sample, arrays, strict=True):
        if array.dtype.kind not in "biuf":
            raise UserError(f"cache: a sample holds a {type(part).__name__}; only images and numbers can be kept")
    return arrays


def free_memory() -> int | None:
    """Bytes that this machine has to give; None where it does not tell."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def is_tensors(dataset: Any) -> bool:
    """Whether a dataset is nothing but tensors, of which whole batches can be read at once."""
    return type(dataset) is TensorDataset or (type(dataset) is Cached and dataset.transform is None)
