"""Collects the outputs and targets of one pass over a split, for reports and trackers."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch

from base.loop.task import TaskFacts
from utils.distributed import all_gather, world_size

Pair = tuple[torch.Tensor, torch.Tensor]


class Collector:
    """Collects the outputs and targets of one form, batch by batch.

    To add a form of data, write a subclass in ``base/tools/collectors``, import it in
    ``base/features.py``, and write its view (``base/tools/views/view.py``). It must keep little of
    a large split: counts, or short lists for each sample. ``add`` is called in each batch of a
    validation, so it must not wait for an accelerator (no ``.item()``, no ``.tolist()``). Import
    heavy libraries where they are used.

    Args:
        facts: about the task.

    Attributes:
        indices: of the samples in their dataset, in the order of the pass; None if unknown.
        gaps: ``(n, count)`` for samples of the pass that were skipped: ``count`` of them came after
            the first ``n`` that were collected.
    """

    can_merge: ClassVar[bool] = False  # whether it can join what several ranks have collected

    def __init__(self, facts: TaskFacts | None = None) -> None:
        self.facts = TaskFacts() if facts is None else facts
        self.indices: list[int] | None = None
        self.gaps: list[tuple[int, int]] = []
        self.reset()

    @classmethod
    def fits(cls, output: Any, target: Any, facts: TaskFacts) -> bool:
        """Whether a first batch has the form that this class collects.

        Args:
            output, target: the arguments of the metrics; tensors, lists, mappings.
            facts: about the task; ``facts.task`` comes first, then ``facts.loss``, then shapes.
        """
        raise NotImplementedError

    def reset(self) -> None:
        """Begins a pass."""
        raise NotImplementedError

    def add(self, output: Any, target: Any, n_samples: int) -> None:
        """Adds a batch of ``n_samples`` samples. One of another form ends the collection."""
        raise NotImplementedError

    def __len__(self) -> int:
        """The number of samples that were collected; 0 if there is nothing to show."""
        raise NotImplementedError

    def skip(self, n_samples: int) -> None:
        """Notes ``n_samples`` samples of the pass that are not added."""

    def locate(self, order: list[int] | None) -> list[int] | None:
        """The indices of the collected samples in their dataset; None if they are unknown.

        Args:
            order: the indices of all samples of the pass, in order.
        """
        if order is None or len(order) != len(self) + sum(count for _, count in self.gaps):
            return None
        indices: list[int] = []
        position = 0
        for n_collected, count in self.gaps:
            end = position + n_collected - len(indices)
            indices += order[position:end]
            position = end + count
        return indices + order[position:]

    def get(self) -> Pair | None:
        """``(output, target)`` of all samples, if each has one row of numbers; otherwise None."""
        return None

    @property
    def chosen(self) -> Collector | None:
        """The collector that a view shows; None if there is nothing."""
        return self if len(self) else None

    def state_dict(self) -> dict[str, Any]:
        """Everything that ``merge`` needs on another rank: plain values, and tensors on the CPU."""
        raise NotImplementedError

    def merge(self, states: list[dict[str, Any]]) -> Self:
        """Returns a collector with the samples of all ranks, in the order of the ranks."""
        raise NotImplementedError


class Collection(Collector):
    """Chooses a collector by the first batch of a pass, and fills it.

    With several ranks, only a collector that can merge is chosen: each rank sees some samples only.
    """

    def reset(self) -> None:
        self._collector: Collector | None = None
        self._is_first = True
        self.gaps = []

    def skip(self, n_samples: int) -> None:
        """Notes samples that count nowhere, because the loss ignores all their targets."""
        self.gaps.append((len(self), n_samples))

    def add(self, output: Any, target: Any, n_samples: int) -> None:
        if self._is_first:
            self._is_first = False
            self._collector = choose(output, target, self.facts)
            if self._collector is not None:
                self._collector.gaps = self.gaps
        if self._collector is not None:
            self._collector.add(output, target, n_samples)

    def __len__(self) -> int:
        return 0 if self._collector is None else len(self._collector)

    def get(self) -> Pair | None:
        return None if self._collector is None else self._collector.get()

    @property
    def chosen(self) -> Collector | None:
        return None if self._collector is None else self._collector.chosen

    def merge_ranks(self, indices: list[int] | None) -> None:
        """Joins what all ranks have collected. Every rank must call it.

        Args:
            indices: of this rank's samples in their dataset; None if unknown.
        """
        if world_size() == 1:
            return
        chosen = self.chosen
        known = None if chosen is None else chosen.locate(indices)
        collected = None if chosen is None else (type(chosen).__name__, chosen.state_dict(), known)
        of_ranks = [item for item in all_gather(collected) if item is not None]
        kinds = {kind.__name__: kind for kind in list_kinds()}
        names = {name for name, _, _ in of_ranks}
        if len(names) != 1:
            self._collector = None
            return
        self._collector = kinds[names.pop()](self.facts).merge([state for _, state, _ in of_ranks])
        lists = [known for _, _, known in of_ranks if known is not None]
        if len(lists) == len(of_ranks):
            self._collector.indices = [index for known in lists for index in known]


def list_kinds() -> list[type[Collector]]:
    """The classes of collectors. The first one that fits is chosen."""
    from base.features import of_kind  # the features import this module
    from base.loop.rows import Rows

    return [Rows, *of_kind(Collector)]


def choose(output: Any, target: Any, facts: TaskFacts) -> Collector | None:
    """Makes the collector that fits a first batch; None if none does, or it cannot merge ranks."""
    kind = find_kind(output, target, facts)
    if kind is None or (world_size() > 1 and not kind.can_merge):
        return None
    return kind(facts)


def find_kind(output: Any, target: Any, facts: TaskFacts) -> type[Collector] | None:
    """Finds the class of collectors that fits a first batch; None if none does."""
    return next((kind for kind in list_kinds() if kind.fits(output, target, facts)), None)
