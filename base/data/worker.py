"""How a batch is read, in the training process or in a worker of the data loader."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    default_collate,
    get_worker_info,
)

from base.data.sampler import BatchIndices, EpochBatchSampler
from utils.launch import num_cores
from utils.seed import temporary_seed

MAX_DEFAULT_WORKERS = 8
WORKER_NICENESS = 10  # of 19


class SeededBatches(Dataset[Any]):
    """A dataset whose items are collated batches, each read under random numbers of its own.

    Augmentation is therefore the same in any worker, with any number of workers, and after any
    resume. The collate function runs under these numbers too, as it may draw some (mixup).

    Args:
        dataset: map-style.
        collate_fn: makes a batch of a list of samples.
    """

    def __init__(self, dataset: Any, collate_fn: Callable[[list[Any]], Any]) -> None:
        self.dataset, self.collate_fn = dataset, collate_fn
        self.read_many = getattr(dataset, "__getitems__", None)
        self.is_indexable = collate_fn is default_collate and holds_tensors(dataset)

    def __getitems__(self, indices: BatchIndices) -> Any:
        if self.is_indexable:  # the same as collating the samples, without making each of them
            index = torch.from_numpy(np.array(indices))
            return [tensor.index_select(0, index) for tensor in self.dataset.tensors]
        with temporary_seed(indices.seed):
            if self.read_many is not None:
                samples = self.read_many(indices)
            else:
                samples = [self.dataset[index] for index in indices]
            return self.collate_fn(samples)


def pass_through(batch: Any) -> Any:
    """The collate function of batches that are collated already."""
    return batch


class WorkerInit:
    """A ``worker_init_fn``: sets up a worker process, then calls the user's function.

    - ``get_worker_info().dataset`` is the user's dataset, as with torch's own loader.
    - The worker ignores requests to stop, which Ctrl-C and batch systems send to all processes of a
      group: the training stops by itself, and needs its data until then.
    - It has a lower priority than the training, whose threads wait for each other when one of them
      has no core.

    Args:
        dataset: the user's.
        worker_init_fn: the user's, or None.
    """

    def __init__(self, dataset: Any, worker_init_fn: Callable[[int], None] | None) -> None:
        self.dataset, self.worker_init_fn = dataset, worker_init_fn

    def __call__(self, worker_id: int) -> None:
        info: Any = get_worker_info()
        if hasattr(os, "setpgid"):
            os.setpgid(0, 0)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            os.nice(WORKER_NICENESS)
        object.__setattr__(info, "dataset", info.dataset.dataset)  # a WorkerInfo is read-only
        if self.worker_init_fn is not None:
            self.worker_init_fn(worker_id)


def make_seeded_loader(
    dataset: Any, batches: EpochBatchSampler, options: dict[str, Any]
) -> DataLoader[Any]:
    """Makes the DataLoader that reads ``batches`` of ``dataset``.

    Args:
        dataset: map-style.
        batches: the indices and the seed of each batch.
        options: other arguments of the DataLoader; ``collate_fn`` and ``worker_init_fn`` get a
            wrapper.
    """
    init = WorkerInit(dataset, options.get("worker_init_fn"))
    seeded = SeededBatches(dataset, options["collate_fn"] or default_collate)
    options = options | {"collate_fn": pass_through, "worker_init_fn": init}
    loader: DataLoader[Any] = DataLoader(seeded, batch_sampler=batches, **options)
    if loader.num_workers > 0:
        end_workers_at_exit(loader)
    return loader


def end_workers_at_exit(loader: DataLoader[Any]) -> None:
    """Ends persistent workers when the program exits.

    Otherwise multiprocessing kills them, and each of them leaves a temporary folder behind.
    """
    reference = weakref.ref(loader)

    def end_workers() -> None:
        alive = reference()
        workers: Any = None if alive is None else alive._iterator
        if workers is not None:
            workers._shutdown_workers()

    atexit.register(end_workers)


def holds_tensors(dataset: Any) -> bool:
    """Whether the dataset is nothing but tensors, so that a batch is one indexing of each."""
    return type(dataset) is TensorDataset or getattr(dataset, "is_plain_tensors", False)


def default_num_workers(dataset: Any, is_cached: bool = False) -> int:
    """How many worker processes read a dataset if nobody says it: one for each core.

    None are used for data in memory, for an iterable dataset, whose samples each worker would
    repeat, and on systems that start processes by spawning, where a dataset must be picklable.
    """
    method = multiprocessing.get_start_method(allow_none=True)
    method = method or multiprocessing.get_all_start_methods()[0]
    if is_cached or holds_tensors(dataset) or method != "fork":
        return 0
    return 0 if isinstance(dataset, IterableDataset) else min(MAX_DEFAULT_WORKERS, num_cores())
