"""A dataset kept in memory as compact tensors: decoded once, then read a batch at a time."""

from __future__ import annotations

import copy
import logging
import os
import shutil
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, TensorDataset

from logger.progress import progress
from utils.errors import UserError
from utils.parallel import barrier, gather, local_rank, local_size, rank


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
    """Reads all of ``dataset`` once, before its ``transform``; the ranks of a machine share the reading and the memory.

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
    whole = _room(n_samples, first)
    own = range(local_rank(), n_samples, local_size())
    for index in progress(own, len(own), "reading the data into memory", logging.getLogger("cache")):
        for place, part, like in zip(whole, _places(plain[index]), first, strict=True):
            if (part.shape, part.dtype) != (like.shape, like.dtype):
                raise UserError(
                    f"cache: sample {index} has {part.dtype} {part.shape} where the first one has {like.dtype} "
                    f"{like.shape}; only samples of one shape can be kept (Resize them on the disk, or leave it off)"
                )
            place[index] = part
    barrier()
    tensors = map(torch.from_numpy, whole)  # forked workers share them as they are
    return Cached(*tensors, transform=transform, as_picture=hasattr(plain[0][0], "getbands"), dataset=dataset)


def _room(n_samples: int, like: list[Any]) -> list[Any]:
    """Empty arrays for ``n_samples`` samples; the ranks of a machine have the same ones. Raises UserError."""
    if local_size() == 1:
        return [np.empty((n_samples, *part.shape), part.dtype) for part in like]
    size, place = n_samples * sum(part.nbytes for part in like), "/dev/shm"
    if not Path(place).is_dir() or shutil.disk_usage(place).free <= size:  # in a container it may be next to nothing
        place = tempfile.gettempdir()
    own = tempfile.TemporaryDirectory(prefix="cache-", dir=place) if local_rank() == 0 else nullcontext("")
    try:
        with own as folder:  # which goes once all have its files open
            folder = gather(folder)[rank() - local_rank()]
            files = [(Path(folder, str(number)), part) for number, part in enumerate(like)]
            for path, part in files if local_rank() == 0 else ():
                with path.open("wb") as file:  # one that finds no room at a later write ends the process
                    os.posix_fallocate(file.fileno(), 0, n_samples * part.nbytes)
            barrier()
            room = [np.memmap(path, part.dtype, "r+", shape=(n_samples, *part.shape)) for path, part in files]
            barrier()
    except OSError as error:
        raise UserError(f"cache: {size / 1e9:.1f} GB for all processes, in {place}: {error.strerror}") from None
    return room


def _places(sample: Any) -> list[np.ndarray[Any, Any]]:
    """The places of a sample as arrays. Raises UserError."""
    if not isinstance(sample, tuple | list) or not sample:
        raise UserError(f"cache: a sample is a {type(sample).__name__}, not a tuple of an input and a target")
    arrays = [np.asarray(part) for part in sample]
    if hasattr(sample[0], "getbands"):  # PIL's are (H, W) or (H, W, C)
        arrays[0] = arrays[0][None] if arrays[0].ndim == 2 else arrays[0].transpose(2, 0, 1)
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
