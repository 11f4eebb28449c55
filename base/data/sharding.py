"""Finds out how a stream (an iterable dataset) is divided among ranks and workers."""

from __future__ import annotations

import copy
import importlib
import inspect
import sys
import zlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import get_worker_info
from torch.utils.data._utils import worker as torch_worker

from utils.errors import UserError, one_line

Sharding = Literal["dataset", "samples"]
# Their datasets divide themselves among the ranks, and their length is that of one rank.
DIVIDING_LIBRARIES = ("litdata", "streaming")


def shard_by_rank(
    dataset: Any, sharding: Sharding | None, rank: int, ranks: int
) -> tuple[Any, bool]:
    """Gives a rank its part of a stream, if the stream can be divided.

    Args:
        dataset: iterable, of a class of the user or of a library.
        sharding: "dataset" if it is divided already; "samples" if it must not be; None to find out.
        rank, ranks: the number of this rank, and of all.

    Returns:
        The dataset that this rank reads, and whether other ranks read other samples.
    """
    if ranks == 1 or sharding == "samples":
        return dataset, False
    if sharding == "dataset" or divides_itself(dataset):
        return dataset, True
    part = _split_by_library(dataset, rank, ranks)
    if part is None:
        part = make_shard(dataset, ranks, rank)
    return (dataset, False) if part is None else (part, True)


def divides_itself(dataset: Any) -> bool:
    """Whether ranks read different samples of this object of a library."""
    if find_library(dataset) in DIVIDING_LIBRARIES:
        return True
    if getattr(dataset, "_distributed", None) is not None:  # by split_dataset_by_node of HF
        return True
    return any(
        getattr(stage, "__name__", type(stage).__name__) in ("split_by_node", "ResampledShards")
        for stage in _list_stages(dataset)
    )


def find_library(dataset: Any) -> str:
    """The name of the package of a dataset's class, or of its first parent outside of torch."""
    packages = [kind.__module__.partition(".")[0] for kind in type(dataset).__mro__]
    return next((name for name in packages if name in DIVIDING_LIBRARIES), packages[0])


def _list_stages(dataset: Any) -> list[Any]:
    """The stages of a pipeline of WebDataset; none of anything else."""
    stages = getattr(dataset, "pipeline", None)
    return stages if isinstance(stages, list) and "webdataset" in sys.modules else []


def _split_by_library(dataset: Any, rank: int, ranks: int) -> Any:
    """This rank's part by the function of the dataset's library; None if there is none."""
    huggingface = sys.modules.get("datasets")
    if huggingface is not None and isinstance(dataset, huggingface.IterableDataset):
        distributed: Any = importlib.import_module("datasets.distributed")
        return distributed.split_dataset_by_node(dataset, rank=rank, world_size=ranks)
    stages = _list_stages(dataset)
    names = [getattr(stage, "__name__", "") for stage in stages]
    if "single_node_only" not in names:
        return None
    part = copy.copy(dataset)
    part.pipeline = list(stages)
    part.pipeline[names.index("single_node_only")] = sys.modules["webdataset"].split_by_node
    return part


def make_shard(dataset: Any, count: int, index: int) -> Any:
    """Part ``index`` of ``count`` by ``dataset.shard``; None if it has no such method.

    The method may take ``num_shards`` and ``index``, in any order, or two numbers.

    Raises:
        UserError: the method fails.
    """
    shard = getattr(dataset, "shard", None)
    if not callable(shard):
        return None
    available = getattr(dataset, "num_shards", getattr(dataset, "n_shards", None))
    if isinstance(available, int) and available < count:
        return None
    parameters = inspect.signature(shard).parameters
    by_name = {"num_shards", "index"} <= parameters.keys()
    try:
        return shard(num_shards=count, index=index) if by_name else shard(count, index)
    except Exception as error:
        message = f"{type(dataset).__name__}.shard({count}, {index}) failed: {one_line(error)}"
        raise UserError(f"{message}; give stream_sharding: samples") from error


# -- workers --------------------------------------------------------------------------------------


class WatchedWorkerInfo(torch_worker.WorkerInfo):
    """A WorkerInfo that notices whether a dataset asks which worker it is in."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("id", "num_workers"):
            _asked.add(name)
        return super().__getattribute__(name)


_asked: set[str] = set()  # the attributes that were read in this process
_identity: list[tuple[int, int]] = []  # of this worker


def watch_worker_info(dataset: Any) -> None:
    """Lets ``get_worker_info`` show ``dataset``, and notice who asks. Only called in a worker."""
    info: Any = get_worker_info()
    _identity[:] = [(info.id, info.num_workers)]
    _asked.clear()
    names = ("id", "num_workers", "seed", "rng", "worker_method")
    values = {name: getattr(info, name) for name in names if hasattr(info, name)}
    _set_worker_info(WatchedWorkerInfo(dataset=dataset, **values))


def _set_worker_info(info: Any) -> None:
    torch_worker._worker_info = info


def identify_worker() -> tuple[int, int]:
    """The number of this worker, and of all workers: 0 of 1 in the training process."""
    return _identity[0] if _identity and get_worker_info() is not None else (0, 1)


def has_asked_for_worker() -> bool:
    """Whether code in this worker has asked for its number."""
    return bool(_asked)


def hide_workers() -> None:
    """Lets ``get_worker_info`` describe the only worker, so that a dataset reads everything."""
    info: Any = get_worker_info()
    object.__setattr__(info, "id", 0)
    object.__setattr__(info, "num_workers", 1)


# -- are two streams the same? --------------------------------------------------------------------


def digest(value: Any, depth: int = 0) -> int:
    """A checksum of samples, which is the same in every process."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = value.float().numpy() if value.dtype is torch.bfloat16 else value.numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return zlib.crc32(np.ascontiguousarray(value).tobytes())
    if isinstance(value, str | bytes | int | float | complex | np.generic | None):
        return zlib.crc32(repr(value).encode())
    if isinstance(value, Mapping):
        value = list(value.items())
    if isinstance(value, list | tuple) and depth < 8:
        return zlib.crc32(repr([digest(item, depth + 1) for item in value]).encode())
    return zlib.crc32(type(value).__name__.encode())
