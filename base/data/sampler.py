"""Which samples make which batch: a function of (seed, epoch, place), so that a run can go on anywhere."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, Dataset, Sampler, default_collate, get_worker_info

from base.data.cache import LABEL_ATTRIBUTES, is_tensors
from utils.distributed import rank, world_size
from utils.errors import UserError
from utils.seed import mix_seed, temporary_seed

Array = np.ndarray[Any, Any]
ORDER, FETCH, CHANGE = (
    0,
    1,
    2,
)  # streams of random numbers: for the order of samples, in them, and in whole batches


class Indices(list[int]):
    """The indices of one batch, and the seed of the random numbers that its augmentation draws."""

    def __init__(self, values: Iterable[int], seed: int) -> None:
        super().__init__(values)
        self.seed = seed


class EpochSampler(Sampler[int]):
    """The samples of one split, in order or shuffled; where it is random, by its ``generator``.

    Args:
        indices: the samples; a range stands for all of a dataset.
        shuffle: a new order for every pass.
        weights: of the samples, which are then drawn with replacement, as many as there are.
    """

    def __init__(self, indices: range | Array, shuffle: bool, weights: Array | None = None) -> None:
        self.indices, self.shuffle, self.generator = indices, shuffle, torch.Generator()
        self.ends = (
            None if weights is None else torch.from_numpy(np.cumsum(weights) / np.sum(weights))
        )

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def order(self) -> Array:
        """The samples of a pass, shape ``(len(self),)``; millions of them are no list, which would take as many MB."""
        own = self.indices
        indices = (
            np.arange(own.start, own.stop, own.step) if isinstance(own, range) else np.asarray(own)
        )
        if self.ends is not None:
            drawn = torch.rand(len(indices), generator=self.generator, dtype=torch.float64)
            indices = indices[
                torch.searchsorted(self.ends, drawn, right=True).clamp(max=len(indices) - 1).numpy()
            ]
        elif self.shuffle:
            indices = indices[torch.randperm(len(indices), generator=self.generator).numpy()]
        return indices


class EpochBatches(Sampler[Indices]):
    """The batches of an epoch, from any given place on. Skipping costs no reading of data.

    Of each batch a rank gets its part; all the parts are the batch, whatever the number of ranks.

    The sampler, whosever it is (``WeightedRandomSampler``, a project's own), is run under random numbers that depend
    on (seed, epoch) alone, and the global ones are left as they were.

    Args:
        sampler: gives indices, or with ``batch_size`` None whole batches of them.

    Attributes:
        in_step: every rank gets something of every batch, as the ranks train in step: a sample that is another rank's
            too, where there are fewer than ranks. It must then not count (see ``share``).
    """

    def __init__(self, sampler: Any, batch_size: int | None, drop_last: bool, seed: int) -> None:
        self.sampler, self.batch_size, self.drop_last, self.seed = (
            sampler,
            batch_size,
            drop_last,
            seed,
        )
        self.epoch = 0
        self.start = 0
        self.in_step = True
        self._shares: dict[int, float] = {}

    def __len__(self) -> int:
        if self.batch_size is None:
            return len(self.sampler)
        return len(BatchSampler(self.sampler, self.batch_size, self.drop_last))

    def __iter__(self) -> Iterator[Indices]:
        epoch, size, order = self.epoch, self.batch_size, self._ordered()
        own, ranks = rank(), world_size()
        self._shares = {}
        for place in range(self.start, len(self)):
            batch = order[place] if size is None else order[place * size : (place + 1) * size]
            part = batch[len(batch) * own // ranks : len(batch) * (own + 1) // ranks]
            self._shares[place] = ranks * len(part) / max(1, len(batch))
            if len(part) or self.in_step:
                chosen = part if len(part) else batch[:1]
                chosen = chosen.tolist() if isinstance(chosen, np.ndarray) else chosen
                yield Indices(
                    chosen, mix_seed(self.seed, epoch, FETCH, place, *([own] if own else []))
                )

    def share(self, place: int) -> float:
        """The size of this rank's part of a batch, relative to the mean of the ranks' parts."""
        return self._shares.get(place, 1.0)

    def _ordered(self) -> Any:
        seed = mix_seed(self.seed, self.epoch, ORDER)
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(self.epoch)
        if isinstance(generator := getattr(self.sampler, "generator", None), torch.Generator):
            generator.manual_seed(seed)
        if isinstance(self.sampler, EpochSampler):
            return self.sampler.order()
        with temporary_seed(seed):
            return list(self.sampler)


class SeededDataset(Dataset[Any]):
    """A dataset that fetches and collates a whole batch under the batch's own random numbers.

    Augmentation is thus the same in any worker, in any number of them, and after any resume.
    """

    def __init__(self, dataset: Any, collate_fn: Any) -> None:
        self.dataset, self.collate_fn = dataset, collate_fn
        self.fetch = getattr(dataset, "__getitems__", None)
        self.is_tensors = collate_fn is default_collate and is_tensors(dataset)

    def __getitems__(self, indices: Indices) -> Any:
        if self.is_tensors:  # what collating the samples one by one gives, without their making
            places = torch.from_numpy(np.array(indices))
            return [tensor.index_select(0, places) for tensor in self.dataset.tensors]
        with temporary_seed(indices.seed):
            samples = (
                self.fetch(indices) if self.fetch else [self.dataset[index] for index in indices]
            )
            return self.collate_fn(
                samples
            )  # under the batch's random numbers, as it may draw some too (mixup)


def as_it_is(batch: Any) -> Any:
    """Collates what is collated already."""
    return batch


class ShowDataset:
    """A ``worker_init_fn``: in a worker, ``get_worker_info().dataset`` is the user's dataset, as ever.

    A request to stop, which Ctrl-C and batch systems send to a whole group of processes, is the training's to hear:
    it still needs its data. And it gives way to the training, whose threads wait for each other where one has no core.
    """

    def __init__(self, dataset: Any, then: Any) -> None:
        self.dataset, self.then = dataset, then

    def __call__(self, worker_id: int) -> None:
        info: Any = get_worker_info()
        if hasattr(os, "setpgid"):
            os.setpgid(0, 0)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            os.nice(10)
        object.__setattr__(info, "dataset", info.dataset.dataset)  # a WorkerInfo is read-only
        if self.then is not None:
            self.then(worker_id)


def split_indices(
    n_samples: int, split: float | int, seed: int = 0, labels: Any = None
) -> tuple[Array, Array]:
    """Divides ``range(n_samples)`` into a training and a validation part.

    With seed 0 and no labels these are pytorch-template's very indices: those of ``np.random.seed(0)`` and
    ``np.random.shuffle``, the first of them for validation; the global generator is not touched.

    Args:
        split: the size of the validation part: a count (int) or a fraction of all (float).
        labels: class of every sample, shape ``(n_samples,)``; each class is then divided in the same proportion.

    Returns:
        Training and validation indices.

    Raises:
        UserError: a part would be empty.
    """
    size = split if isinstance(split, int) else int(n_samples * split) if 0 < split < 1 else 0
    if not 0 < size < n_samples or isinstance(split, bool):
        raise UserError(
            f"validation_split={split} of {n_samples} samples leaves a part empty: "
            f"give a count from 1 to {n_samples - 1} or a fraction between 0 and 1"
        )
    order = np.arange(n_samples)
    np.random.RandomState(seed).shuffle(order)
    if labels is None:
        return order[size:], order[:size]
    labels = np.asarray(labels)[order]
    # Every class spread evenly over [0, 1): the first `size` of that line hold each class in proportion.
    spread = np.empty(n_samples)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        spread[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = order[np.argsort(spread, kind="stable")]
    return np.sort(order[size:]), np.sort(order[:size])


def class_weights(dataset: Any, indices: Any) -> Array:
    """Weights of the samples at ``indices`` under which every class is drawn as often; logs how many each has."""
    labels = np.asarray(labels_of(dataset, "sampler"))[np.asarray(indices)]
    if labels.ndim != 1:
        raise UserError(
            f"sampler: class_balanced wants one class a sample, not labels of shape {labels.shape[1:]}"
        )
    classes, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    named = ", ".join(
        f"{label}: {count}" for label, count in list(zip(classes, counts, strict=True))[:20]
    )
    more = ", …" if len(classes) > 20 else ""
    logging.getLogger("data_loader").info(
        "Class-balanced: every class is drawn as often; samples: %s%s", named, more
    )
    return np.asarray((1 / counts)[places])


def labels_of(dataset: Any, key: str = "stratify") -> Any:
    """The class of every sample, where a dataset tells it without reading the samples.

    Raises:
        UserError: it does not.
    """
    for name in LABEL_ATTRIBUTES:
        labels = getattr(dataset, name, None)
        if isinstance(labels, Sized) and len(labels) == len(dataset):
            return labels
    if hasattr(dataset, "tensors"):
        return dataset.tensors[-1]
    if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):
        return np.asarray(labels_of(dataset.dataset, key))[dataset.indices]
    raise UserError(
        f"{key}: {type(dataset).__name__} has no `targets` or `labels` that tell the classes"
    )
