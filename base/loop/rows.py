"""The outputs and targets of a full pass, for reports and plots."""

from __future__ import annotations

from typing import Any

import torch

from base.loop.collector import Collector, Pair
from base.loop.task import TaskFacts


class Rows(Collector):
    """Collects outputs and targets if each sample has one row of numbers.

    Nothing is kept of a pass with more numbers than ``facts.limit``.
    """

    @classmethod
    def fits(cls, output: Any, target: Any, facts: TaskFacts) -> bool:
        """Whether ``output`` and ``target`` have the shapes (N,) or (N, C)."""
        tensors = isinstance(output, torch.Tensor) and isinstance(target, torch.Tensor)
        return tensors and output.ndim in (1, 2) and target.ndim in (1, 2)

    def reset(self) -> None:
        self._rows: list[Pair] | None = []
        self._numel = 0

    def add(self, output: Any, target: Any, n_samples: int) -> None:
        """Adds a batch: ``output`` and ``target`` have the shapes (N,) or (N, C)."""
        if self._rows is None:
            return
        if not self.fits(output, target, self.facts):
            self._rows = None
            return
        self._numel += output.numel() + target.numel()
        first = self._rows[0] if self._rows else (output, target)
        has_same_form = all(
            values.shape[1:] == known.shape[1:]
            for values, known in zip((output, target), first, strict=True)
        )
        is_of_rows = len(output) == len(target) == n_samples and has_same_form
        if is_of_rows and self._numel <= self.facts.limit:
            self._rows.append((output.detach(), target.detach()))
        else:
            self._rows = None

    def __len__(self) -> int:
        return sum(len(target) for _, target in self._rows or [])

    def get(self) -> Pair | None:
        """``(output, target)`` of all samples in order, on the CPU; None if there are none."""
        if not self._rows:
            return None
        outputs, targets = zip(*self._rows, strict=True)
        return torch.cat(outputs).float().cpu(), torch.cat(targets).cpu()
