"""The outputs and targets of a full pass, for reports and plots."""

from __future__ import annotations

from math import inf
from typing import Any

import torch


class Rows:
    """Collects the outputs and targets of a pass, if each sample has one row of numbers.

    Args:
        limit: the largest amount of numbers to keep; nothing is kept of a larger pass.
    """

    def __init__(self, limit: float = inf) -> None:
        self.limit = limit
        self.reset()

    def reset(self) -> None:
        self._rows: list[tuple[torch.Tensor, torch.Tensor]] | None = []
        self._numel = 0

    def add(self, output: Any, target: Any, n_samples: int) -> None:
        """Adds a batch: ``output`` and ``target`` have the shapes (N,) or (N, C)."""
        if self._rows is None:
            return
        tensors = isinstance(output, torch.Tensor) and isinstance(target, torch.Tensor)
        if not tensors or not (output.ndim in (1, 2) and target.ndim in (1, 2)):
            self._rows = None
            return
        self._numel += output.numel() + target.numel()
        if len(output) == len(target) == n_samples and self._numel <= self.limit:
            self._rows.append((output.detach(), target.detach()))
        else:
            self._rows = None

    def get(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """``(output, target)`` of all samples in order, on the CPU; None if there are none."""
        if not self._rows:
            return None
        outputs, targets = zip(*self._rows, strict=True)
        try:
            return torch.cat(outputs).float().cpu(), torch.cat(targets).cpu()
        except RuntimeError:  # the rows have different lengths
            return None
