"""Weighs the batches of a pass by their samples, or by the targets that count in them.

A cross entropy over tokens is a mean over the tokens that count, and batches have different numbers
of them. The mean over several batches must weigh each by its number, and so must the gradient of an
accumulation window. See https://huggingface.co/blog/gradient_accumulation.
"""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

import torch

from base.loop.metrics import MetricSet
from base.loop.targets import (
    NO_TARGETS,
    TargetCounter,
    find_counter,
    find_ignore_index,
    ignores_all,
    ignores_any,
)
from utils.batch import find_target
from utils.distributed import process_group, world_size

if TYPE_CHECKING:
    from base.loop.update import Update

LOGGER = logging.getLogger("train")


class SampleWeights:
    """Weighs batches by their samples. If the loss ignores all targets of a batch, it weighs 0.

    Args:
        ignore_index: the class that the loss ignores; None if it ignores nothing.
        on_ranks: whether each batch is divided among ranks.

    Attributes:
        skips: whether nothing in the last batch counts, on any rank.
    """

    def __init__(self, ignore_index: int | None, on_ranks: bool) -> None:
        self.ignore_index, self.on_ranks = ignore_index, on_ranks
        self.skips = False

    def weigh(self, batch: Any, weight: float) -> float:
        """Returns the weight of a batch; ``weight`` is that of its samples."""
        if self.ignore_index is not None:
            target = find_target(batch)
            if ignores_all(self.ignore_index, target):
                weight = 0.0
            elif self.on_ranks and ignores_any(self.ignore_index, target):
                warn_of_ranks(self.ignore_index)
        self.skips = weight == 0 and not self.on_ranks
        return weight


class TargetWeights:
    """Weighs batches by their targets, and gives a MetricSet the number of them.

    Args:
        counter: counts the targets in a batch.
        metrics: of the pass; None if they are not a MetricSet.
        window: gets the number of targets too; None without accumulation.
        on_ranks: whether each batch is divided among ranks.

    Attributes:
        skips: whether nothing in the last batch counts, on any rank.
    """

    def __init__(
        self,
        counter: TargetCounter,
        metrics: MetricSet | None,
        window: WindowTargets | None,
        on_ranks: bool,
    ) -> None:
        self.counter, self.metrics, self.window = counter, metrics, window
        self.on_ranks = on_ranks
        self.skips = False

    def weigh(self, batch: Any, weight: float) -> float:
        """Returns the weight of a batch; ``weight`` is 0 if its samples do not count."""
        counts = NO_TARGETS if weight == 0 else self.counter.count(batch)
        total = sum_over_ranks(counts.weight) if self.on_ranks else counts.weight
        self.skips = total == 0
        if self.metrics is not None:
            self.metrics.counts = counts.of_means
        if self.window is not None:
            self.window.n_in_batch = total
        if self.skips:
            return 0.0
        return world_size() * counts.weight / total if self.on_ranks else 1.0


class WindowTargets:
    """Makes the gradient of an accumulation window the mean over all its targets.

    Attributes:
        n_in_batch: the number of targets in the current batch, over all ranks.
    """

    def __init__(self) -> None:
        self.n_in_batch = 0.0
        self._first = self._total = 0.0

    def weigh_batch(self) -> float:
        """The weight of the batch: its number of targets relative to that of the first one."""
        self._first = self._first or self.n_in_batch
        self._total += self.n_in_batch
        return self.n_in_batch / self._first if self._first else 0.0

    def end_window(self, n_batches: int) -> float:
        """Returns the factor that the gradient still lacks, after ``n_batches``."""
        factor = n_batches * self._first / self._total if self._total else 1.0
        self._first = self._total = 0.0
        return factor


def make_batch_weights(
    batch: Any, criterion: Any, metrics: MetricSet | None, update: Update | None, on_ranks: bool
) -> SampleWeights | TargetWeights:
    """Chooses by the first batch of a pass whether batches weigh by samples or by targets.

    With ``on_ranks``, all ranks must call this at the same time.

    Args:
        batch: the first one.
        criterion: the loss.
        metrics: of the pass; None if they are not a MetricSet.
        update: of a training; gets ``targets`` if its windows must weigh their batches.
        on_ranks: whether each batch is divided among ranks.
    """
    counter = find_counter(criterion, metrics, batch, on_ranks)
    has_windows = update is not None and update.options.accumulation_steps > 1
    window = WindowTargets() if has_windows and counter is not None else None
    if update is not None:
        update.targets = window
    if counter is None:
        return SampleWeights(find_ignore_index(criterion), on_ranks)
    return TargetWeights(counter, metrics, window, on_ranks)


def sum_over_ranks(weight: float) -> float:
    """The sum of the ranks' weights of a batch. All ranks must call this at the same time."""
    total = torch.tensor(weight, dtype=torch.float64)
    torch.distributed.all_reduce(total, group=process_group())
    return total.item()


@functools.cache  # once
def warn_of_ranks(ignore_index: int) -> None:
    """Warns that targets (N,) have the default ``ignore_index``, which the loss does not name."""
    LOGGER.warning(
        "loss: some targets are %d and ignored, but the processes weigh their batches by samples. "
        "Give the loss the argument ignore_index to weigh them by the targets that count.",
        ignore_index,
    )
