"""BucketBatchSampler: batches of samples of similar lengths, so that little is padded."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler

from base.data.epoch_sampler import Array
from base.data.lengths import find_lengths
from utils.errors import UserError

BATCHES_PER_BUCKET = 50


class Limits(NamedTuple):
    """The arguments that, with the lengths and the random numbers, decide the batches."""

    batch_size: int | None
    max_tokens: int | None
    batches_per_bucket: int
    shuffle: bool
    drop_last: bool

    def __str__(self) -> str:
        named = {"batch_size": self.batch_size, "max_tokens": self.max_tokens}
        return ", ".join(f"{name}={value}" for name, value in named.items() if value is not None)


class Earlier(NamedTuple):
    """The limits in a checkpoint. Only ``state_dict`` saves them, because this is no plain value.

    Attributes:
        limits: of the run that wrote it.
        resumed: the epoch that had begun with other limits, and these limits.
    """

    limits: Limits
    resumed: tuple[int, Limits] | None


class BucketBatchSampler(Sampler[list[int]]):
    """Gives batches of samples of similar lengths.

    In each epoch, samples are drawn into buckets at random. Each bucket is sorted by length and
    divided into batches, and the batches of all buckets are shuffled. With ``max_tokens`` there is
    one bucket of all samples, so that each epoch has the same number of batches. The order depends
    only on the seed and the epoch. Each process gets its part of each batch.

    Args:
        dataset: map-style.
        batch_size: the number of samples in a batch, over all processes.
        max_tokens: the largest size of a batch with its padding: its samples times its greatest
            length. With ``batch_size``, both are limits.
        lengths: a column or an attribute of the dataset, or a field of its samples: lengths, or
            what has lengths. By default, the attribute ``lengths`` or the column ``length``.
        batches_per_bucket: fewer ones are more random, and pad more; 50 by default.
        shuffle: draw new batches for every epoch; otherwise, all samples are sorted.
        drop_last: leave out the last batch of an epoch if it is smaller.
        indices: the samples to draw from, such as those of one split; all by default.

    Raises:
        UserError: the lengths are unknown, or an argument does not fit.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        lengths: str | None = None,
        batches_per_bucket: int | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        indices: Sequence[int] | Array | None = None,
    ) -> None:
        per_bucket = BATCHES_PER_BUCKET if batches_per_bucket is None else batches_per_bucket
        _check(batch_size, max_tokens, batches_per_bucket, drop_last)
        self.lengths = find_lengths(dataset, lengths)
        self._is_complete = indices is None
        self._indices = np.asarray(range(len(self.lengths)) if indices is None else indices)
        self.lengths = self.lengths[self._indices]
        if max_tokens is not None and self.lengths.max() > max_tokens:
            index, longest = self._indices[self.lengths.argmax()], int(self.lengths.max())
            message = f"{max_tokens} is less than the length {longest} of sample {index}"
            raise UserError(f"{message}; raise it, or shorten the samples", key="max_tokens")
        if drop_last and len(self.lengths) < (batch_size or 1):
            message = f"of {len(self.lengths)} samples, drop_last leaves no batch of {batch_size}"
            raise UserError(message, key="drop_last")
        self.generator = torch.Generator()
        self.epoch = 0
        self._limits = Limits(batch_size, max_tokens, per_bucket, shuffle, drop_last)
        self._earlier: Earlier | None = None
        self._resumed: tuple[int, Limits] | None = None  # an epoch that has begun with others

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        size = self._limits.batch_size
        if self._limits.max_tokens is not None:
            return len(self._divide(self._sort(np.arange(len(self.lengths))), self._limits))
        assert size is not None
        n_samples = len(self.lengths)
        return n_samples // size if self._limits.drop_last else ceil(n_samples / size)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.draw_batches())

    def draw_batches(self, is_resumed: bool = False) -> list[list[int]]:
        """Draws the batches of an epoch by ``generator``.

        Args:
            is_resumed: this run continues the epoch from a checkpoint. If its limits have changed,
                the samples keep their order, and larger batches are divided.
        """
        limits = self._get_earlier_limits() if is_resumed else self._limits
        batches = self._draw_positions(limits)
        return batches if self._is_complete else [self._indices[b].tolist() for b in batches]

    def _draw_positions(self, limits: Limits) -> list[list[int]]:
        """Draws batches of positions in ``lengths``, by the limits with which the epoch began."""
        self._earlier = None
        if limits == self._limits:
            return self._draw(limits)
        if self._resumed is None or self._resumed[0] != self.epoch:
            logging.getLogger("data_loader").info(
                "This epoch has begun with batches of %s. They are kept until it ends; those that "
                "are too large for %s are divided.",
                limits,
                self._limits,
            )
        self._resumed = self.epoch, limits
        batches = (np.array(batch) for batch in self._draw(limits))
        return [part for batch in batches for part in self._divide(batch, self._limits)]

    def _get_earlier_limits(self) -> Limits:
        """The limits with which the epoch has begun, in an earlier run or in this one."""
        limits, resumed = self._earlier or (self._limits, self._resumed)
        return resumed[1] if resumed is not None and resumed[0] == self.epoch else limits

    def state_dict(self) -> dict[str, Any]:
        """The limits, which decide where a changed run continues an epoch."""
        limits, resumed = self._earlier or (self._limits, self._resumed)
        return {
            "limits": list(limits),
            "resumed": None if resumed is None else [resumed[0], list(resumed[1])],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        found = state["resumed"]
        resumed = None if found is None else (found[0], Limits(*found[1]))
        self._earlier = Earlier(Limits(*state["limits"]), resumed)

    def forget_earlier(self) -> None:
        """Begins a new epoch with the limits of this run."""
        self._earlier = None

    # -- batches --------------------------------------------------------------------------------

    def _draw(self, limits: Limits) -> list[list[int]]:
        n_samples = len(self.lengths)
        if not limits.shuffle:
            return self._divide(self._sort(np.arange(n_samples)), limits, limits.drop_last)
        order = torch.randperm(n_samples, generator=self.generator).numpy()
        bucket = n_samples
        if limits.max_tokens is None and limits.batch_size is not None:
            bucket = limits.batch_size * limits.batches_per_bucket
        batches = [
            batch
            for start in range(0, n_samples, bucket)
            for batch in self._divide(
                self._sort(order[start : start + bucket]), limits, limits.drop_last
            )
        ]
        shuffled = torch.randperm(len(batches), generator=self.generator).tolist()
        return [batches[index] for index in shuffled]

    def _sort(self, indices: Array) -> Array:
        """Sorts samples by length; those of equal length keep their order."""
        found: Array = indices[np.argsort(self.lengths[indices], kind="stable")]
        return found

    def _divide(self, indices: Array, limits: Limits, drop_last: bool = False) -> list[list[int]]:
        """Divides samples, in their order, into batches that the limits allow."""
        items = indices.tolist()
        size = len(items) if limits.batch_size is None else limits.batch_size
        if limits.max_tokens is None:
            ends = [*range(size, len(items), size), len(items)]
        else:
            ends = []
            start = longest = 0
            for position, length in enumerate(self.lengths[indices].tolist()):
                longest = max(longest, length)
                count = position - start + 1
                if count > size or count * longest > limits.max_tokens:
                    ends.append(position)
                    start, longest = position, length
            ends.append(len(items))
        batches = [
            items[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start
        ]
        return batches[:-1] if drop_last and len(batches[-1]) < size else batches


def _check(
    batch_size: int | None, max_tokens: int | None, batches_per_bucket: int | None, drop_last: bool
) -> None:
    """Raises UserError if an argument of a BucketBatchSampler does not fit the others."""
    if batch_size is None and max_tokens is None:
        raise UserError("is missing; give it, or max_tokens", key="batch_size")
    values = {
        "batch_size": batch_size,
        "max_tokens": max_tokens,
        "batches_per_bucket": batches_per_bucket,
    }
    for name, value in values.items():
        if value is not None and value < 1:
            raise UserError(f"{value} must be at least 1", key=name)
    if max_tokens is not None:
        given = {"batches_per_bucket": batches_per_bucket is not None, "drop_last": drop_last}
        for name in (name for name, is_given in given.items() if is_given):
            message = "has no meaning with max_tokens, whose batches have different sizes"
            raise UserError(message, key=name)
