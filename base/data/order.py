"""Draws the order of a pass from a sampler, and divides it into batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from math import ceil
from typing import Any, NamedTuple

from base.data.buckets import BucketBatchSampler
from base.data.epoch_sampler import EpochSampler
from utils.seed import RandomStream

MIN_CHUNK = 4096  # items that are drawn at once, at least


class Position(NamedTuple):
    """A position in the data.

    Attributes:
        epoch: the number of a pass over the data.
        batch: the number of batches before this position.
        sample: the number of samples before it. None means that all batches before were full, or
            that a batch sampler has made them.
    """

    epoch: int
    batch: int
    sample: int | None = None


class BatchFacts(NamedTuple):
    """The facts about a batch in a pass.

    Attributes:
        loss_weight: the size of this rank's part, divided by the mean size of all parts.
        samples: the number of samples up to the end of this batch, over all ranks.
        left: the number of batches after this one; None if unknown.
        size: the number of samples in this rank's part; None if unknown.
        is_missing: whether only other ranks have samples of it, in an evaluation.
    """

    loss_weight: float = 1.0
    samples: int | None = None
    left: int | None = None
    size: int | None = None
    is_missing: bool = False


Batches = Iterator[tuple[Any, int, int | None]]  # indices, samples so far, batches that are left


def get_length(sampler: Any) -> int | None:
    """The length that a sampler reports; None if it reports none. It may be an estimate."""
    try:
        return len(sampler)
    except (TypeError, NotImplementedError):
        return None


def count_batches(num_samples: int, size: int, drop_last: bool) -> int:
    """The number of batches of ``size`` in ``num_samples`` samples."""
    return num_samples // size if drop_last else ceil(num_samples / size)


def limit_length(loader: Any, limit: int | None) -> int:
    """The number of batches in a limited pass. An unknown number counts as the limit."""
    if limit is None:
        return len(loader)
    length = get_length(loader)
    return limit if length is None else min(limit, length)


def iterate_batches(
    sampler: Any, size: int | None, drop_last: bool, seed: int, start: Position
) -> Batches:
    """Yields the batches of a pass from ``start`` on.

    With each come the number of samples in the pass so far, and the number of batches after it,
    which is None if unknown. The sampler decides when the pass ends, and not its length.

    Args:
        sampler: gives indices, or lists of indices if ``size`` is None.
        size: the number of samples in a batch.
        drop_last: leave out the last batch if it is smaller.
        seed: for the random numbers that the sampler draws.
        start: the position of the first batch.
    """
    order = _draw_order(sampler, seed, start)
    if size is None:
        return _skip_batches(order, start)
    first = start.batch * size if start.sample is None else start.sample
    divide = _divide_stream if isinstance(order, Iterator) else _divide
    return divide(order, size, drop_last, first)


def _draw_order(sampler: Any, seed: int, start: Position) -> Any:
    """Draws the order of a pass: a sequence, or an iterator if the sampler may have no end."""
    if isinstance(sampler, EpochSampler):
        return sampler.draw_order()
    if isinstance(sampler, BucketBatchSampler):
        return sampler.draw_batches(is_resumed=start.batch > 0)
    size = max(MIN_CHUNK, (get_length(sampler) or 0) + 1)
    chunks = _draw_chunks(sampler, seed, size)
    first_chunk = next(chunks)
    is_complete = len(first_chunk) < size
    return first_chunk if is_complete else chain(first_chunk, chain.from_iterable(chunks))


def _draw_chunks(sampler: Any, seed: int, size: int) -> Iterator[list[Any]]:
    """Yields what ``sampler`` gives, ``size`` items at a time; the last chunk is shorter.

    The sampler draws from random numbers of its own, however the chunks are fetched.
    """
    stream = RandomStream(seed)
    with stream.drawing():
        items = iter(sampler)
    while True:
        with stream.drawing():
            chunk = list(islice(items, size))
        yield chunk
        if len(chunk) < size:
            return


def _divide(order: Sequence[int], size: int, drop_last: bool, first: int) -> Batches:
    n_batches = count_batches(max(0, len(order) - first), size, drop_last)
    for number in range(n_batches):
        begin = first + number * size
        end = min(begin + size, len(order))
        yield order[begin:end], end, n_batches - number - 1


def _divide_stream(indices: Iterable[int], size: int, drop_last: bool, first: int) -> Batches:
    left = islice(indices, first, None)
    seen = first
    while len(batch := list(islice(left, size))) == size:
        seen += size
        yield batch, seen, None
    if batch and not drop_last:
        yield batch, seen + len(batch), 0


def _skip_batches(batches: Iterable[Any], start: Position) -> Batches:
    """Yields the lists of a batch sampler from ``start`` on.

    If its batches have another size now than before the start, the samples count. A batch that was
    trained on in part is shortened.
    """
    length = len(batches) if isinstance(batches, list) else None
    seen = 0
    for number, batch in enumerate(batches):
        seen += len(batch)
        if number < start.batch if start.sample is None else seen <= start.sample:
            continue
        if start.sample is not None and seen - len(batch) < start.sample:
            batch = batch[start.sample - seen :]
        yield batch, seen, None if length is None else length - number - 1
