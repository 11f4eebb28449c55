"""The first batches of each pass: ``trainer.limit_batches``, for a quick try of everything."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from base.data.loader import (
    DividedLoader,
    PositionedLoader,
    get_rest,
    list_sets,
    map_sets,
    set_position,
)
from base.data.order import limit_length
from utils.batch import num_batches


def limit_loader(loader: Any, count: int) -> Any:
    """Limits the passes of a loader of any class, or of each of several in a dict.

    Returns:
        The same loader if it is a DividedLoader, or has at most ``count`` batches. Otherwise, a
        loader around it. None stays None.
    """
    return map_sets(lambda item: _limit(item, count), loader)


def _limit(loader: Any, count: int) -> Any:
    if isinstance(loader, DividedLoader):
        loader.limit_batches = count
        return loader
    return LimitedLoader(loader, count) if may_exceed(loader, count) else loader


def may_exceed(loader: Any, count: int) -> bool:
    """Whether a pass of a loader, or of one in a dict, has more than ``count`` batches.

    A loader of unknown length may have more.
    """
    lengths = [num_batches(item) for _, item in list_sets(loader)]
    return any(length is None or length > count for length in lengths)


class PartialLoader(PositionedLoader):
    """The parent of loaders that give the first ``count`` batches of another one.

    It has the public attributes of the loader, because trainers of pytorch-template read
    ``n_samples``.

    Args:
        loader: of any kind.
        count: the number of batches to read.
    """

    def __init__(self, loader: Any, count: int) -> None:
        attributes = getattr(loader, "__dict__", {}).items()
        vars(self).update((name, value) for name, value in attributes if not name.startswith("_"))
        self.loader = loader
        self.count = count
        self.batch_size = getattr(loader, "batch_size", None)
        self._start_batch = 0

    def __len__(self) -> int:
        return limit_length(self.loader, self.count)


class LimitedLoader(PartialLoader):
    """Gives the first ``count`` batches of each pass of a loader that cannot be limited itself."""

    def __iter__(self) -> Iterator[Any]:
        start, self._start_batch = self._start_batch, 0
        rest = get_rest(self.loader, start, num_batches(self.loader))
        yield from itertools.islice(rest, max(0, self.count - start))

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Sets the number of the next pass, and the batches that it skips."""
        self._start_batch = start_batch
        set_position(self.loader, epoch, start_batch)
