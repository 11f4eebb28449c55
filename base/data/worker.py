"""Reads batches, in the training process or in the workers of a data loader."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    default_collate,
    default_convert,
    get_worker_info,
)

from base.data.collate import collate, describe_sample, explain_failure, name_sample
from base.data.generators import reseeded
from base.data.sampler import BatchIndices, EpochBatchSampler
from base.data.sharding import watch_worker_info
from base.data.walk import find_generators
from base.data.worker_processes import register_loader, register_workers, starting_workers
from utils.batch import PINNED_FOR
from utils.distributed import local_world_size
from utils.errors import UserError, one_line
from utils.files import reopen_files
from utils.launch import num_cores
from utils.seed import temporary_seed
from utils.worker_signals import deferred_signals, outlive_signals

MAX_DEFAULT_WORKERS = 8
WORKER_NICENESS = 10  # of 19
READING = "while reading "  # a note at an error


class SeededBatches(Dataset[Any]):
    """A dataset whose items are collated batches. Each batch is read under its own seed.

    So augmentation does not depend on the worker, the number of workers, or a resume. The collate
    function runs under the same seed, because it may draw random numbers too (mixup). Random
    generators that the dataset keeps are seeded too, and continue as before after the batch.

    Args:
        dataset: map-style.
        collate_fn: makes a batch from a list of samples.
        is_batched: whether samples are collated. Otherwise ``collate_fn`` takes one item of the
            dataset, which is a batch.
    """

    def __init__(
        self, dataset: Any, collate_fn: Callable[[Any], Any], is_batched: bool = True
    ) -> None:
        self.dataset, self.collate_fn, self.is_batched = dataset, collate_fn, is_batched
        self.read_many = getattr(dataset, "__getitems__", None) if is_batched else None
        self.section = "data_loader"  # of the config, for errors
        self._generators: dict[str, Any] = {}
        self._process = 0  # which has looked for generators

    def __getitems__(self, indices: BatchIndices) -> Any:
        if self.collate_fn in (collate, default_collate) and holds_tensors(self.dataset):
            # This equals collating single samples, but is faster.
            index = torch.from_numpy(np.array(indices))
            return [tensor.index_select(0, index) for tensor in self.dataset.tensors]
        if self._process == os.getpid():
            return self._read(indices)
        self.find_generators()
        batch = self._read(indices)
        known = self._generators
        self.find_generators()
        self._process = os.getpid()
        # The first sample may make a generator, which had no seed then.
        return batch if self._generators.keys() <= known.keys() else self._read(indices)

    def forget_generators(self) -> None:
        """Lets the next batch look for generators again."""
        self._process = 0

    def find_generators(self) -> None:
        """Looks for random generators in the dataset and the collate function."""
        self._generators = find_generators({"dataset": self.dataset, "collate": self.collate_fn})

    def _read(self, indices: BatchIndices) -> Any:
        with temporary_seed(indices.seed), reseeded(self._generators, indices.seed):
            try:
                if self.read_many is not None:
                    samples = self.read_many(indices)
                else:
                    samples = [self.read_sample(index) for index in indices]
            except StopIteration as error:  # would end the epoch without a word
                reason = RuntimeError("the dataset raised StopIteration")
                raise reason.with_traceback(error.__traceback__) from None
            try:
                return self.collate_fn(samples if self.is_batched else samples[0])
            except UserError as error:
                if self.is_batched:
                    error = name_sample(error, self.collate_fn, samples, self.dataset, indices)
                raise error if error.problems[0].key else error.under(self.section) from error
            except Exception as error:
                if not self.is_batched or self.collate_fn in (collate, default_collate):
                    raise
                message = explain_failure(error, self.collate_fn, samples)
                raise UserError(message, key=f"{self.section}.args.collate_fn") from error

    def read_sample(self, index: int) -> Any:
        """Reads one sample. Raises UserError if its file is missing or damaged."""
        try:
            return self.dataset[index]
        except OSError as error:  # PIL, for example, does not name the file
            message = f"{describe_sample(self.dataset, index)} cannot be read: {one_line(error)}"
            raise UserError(message, key=self.section) from error
        except Exception as error:
            error.add_note(READING + describe_sample(self.dataset, index))
            raise


def pass_through(batch: Any) -> Any:
    """A collate function for batches that are collated already."""
    return batch


class WorkerInit:
    """A ``worker_init_fn``: sets up a worker process, then calls the user's function.

    - ``get_worker_info().dataset`` is the user's dataset, as with torch's ``DataLoader``.
    - The worker leaves the process group and ignores requests to stop. Ctrl-C and batch systems
      send their signals to all processes, but training needs its data until it stops.
    - The worker gets positions of its own in the files that the dataset has opened, which it would
      share with the other workers.
    - The worker gets a lower priority than training. All threads of a step wait if one of them has
      no core.

    Args:
        dataset: the user's dataset.
        worker_init_fn: the user's function, or None.
        is_watched: whether to notice if the dataset, a stream, asks which worker it is in.
    """

    def __init__(
        self, dataset: Any, worker_init_fn: Callable[[int], None] | None, is_watched: bool = False
    ) -> None:
        self.dataset, self.worker_init_fn = dataset, worker_init_fn
        self.is_watched = is_watched

    def __call__(self, worker_id: int) -> None:
        info: Any = get_worker_info()
        if hasattr(os, "setpgid"):
            os.setpgid(0, 0)
            outlive_signals()
            os.nice(WORKER_NICENESS)
            reopen_files()
        object.__setattr__(info, "dataset", self.dataset)  # a WorkerInfo is read-only
        if self.is_watched:
            watch_worker_info(self.dataset)
        if self.worker_init_fn is not None:
            self.worker_init_fn(worker_id)


def make_loader_options(num_workers: int, **options: Any) -> dict[str, Any]:
    """Returns the options of a DataLoader whose ``num_workers`` are divided among the processes."""
    num_workers = ceil(num_workers / local_world_size())
    persistent = num_workers > 0 and options.get("persistent_workers", True)
    if options.get("collate_fn") is default_collate:
        options["collate_fn"] = collate  # names the field if samples make no batch
    defaults = {"generator": torch.Generator()}
    return {**defaults, **options, "num_workers": num_workers, "persistent_workers": persistent}


def pins_memory(options: dict[str, Any], device: torch.device) -> bool:
    """Whether batches go to ``device`` through pinned memory, which is faster for some devices.

    Args:
        options: the arguments of the DataLoader. Tensors that are on a device already cannot be
            pinned.
        device: the device of the model.
    """
    if device.type not in PINNED_FOR or not options.get("pin_memory", True):
        return False
    tensors = getattr(options["dataset"], "tensors", ())
    return all(tensor.is_cpu for tensor in tensors)


class WorkerLoader(DataLoader[Any]):
    """A DataLoader whose workers outlive the signals that ask the run to stop.

    Args:
        dataset: is read.
        user_dataset: the dataset that ``get_worker_info`` shows; by default ``dataset``.
        options: other arguments of the DataLoader.
    """

    def __init__(self, dataset: Any, user_dataset: Any = None, **options: Any) -> None:
        shown = dataset if user_dataset is None else user_dataset
        is_stream = isinstance(dataset, IterableDataset)
        init = WorkerInit(shown, options.pop("worker_init_fn", None), is_stream)
        super().__init__(dataset, worker_init_fn=init, **options)
        register_loader(self)

    def __iter__(self) -> Any:
        with starting_workers(), deferred_signals():
            batches: Any = super().__iter__()
        register_workers(batches)
        return batches


def make_seeded_loader(
    dataset: Any, batches: EpochBatchSampler, options: dict[str, Any], is_batched: bool = True
) -> DataLoader[Any]:
    """Makes the DataLoader that reads ``batches`` of ``dataset``.

    Args:
        dataset: map-style.
        batches: gives the indices and the seed of each batch.
        options: other arguments of the DataLoader. ``collate_fn`` and ``worker_init_fn`` are
            wrapped.
        is_batched: whether samples are collated; otherwise each item of the dataset is a batch.
    """
    collate_fn = options["collate_fn"] or (collate if is_batched else default_convert)
    seeded = SeededBatches(dataset, collate_fn, is_batched)
    options = options | {"collate_fn": pass_through}
    return WorkerLoader(seeded, dataset, batch_sampler=batches, **options)


class InMemoryDataset(TensorDataset):
    """Samples that are kept in memory as tensors. A subclass may transform each of them."""

    @property
    def is_plain_tensors(self) -> bool:
        """Whether a batch can be read by indexing the tensors."""
        return True


def holds_tensors(dataset: Any) -> bool:
    """Whether the dataset consists of tensors only, so that indexing them gives a batch."""
    if isinstance(dataset, InMemoryDataset):
        return dataset.is_plain_tensors
    return type(dataset) is TensorDataset


def default_num_workers(dataset: Any, is_cached: bool = False) -> int:
    """The default number of worker processes: one for each core, up to ``MAX_DEFAULT_WORKERS``.

    It is 0 for data in memory. It is 0 for an iterable dataset, because each worker would repeat
    its samples. It is also 0 on systems that spawn processes, because the dataset may not be
    picklable.
    """
    method = multiprocessing.get_start_method(allow_none=True)
    method = method or multiprocessing.get_all_start_methods()[0]
    if is_cached or holds_tensors(dataset) or method != "fork":
        return 0
    return 0 if isinstance(dataset, IterableDataset) else min(MAX_DEFAULT_WORKERS, num_cores())
