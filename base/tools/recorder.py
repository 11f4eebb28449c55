"""A MetricSet that also keeps the outputs of the pass, for a report or a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from base.loop.metrics import MetricSet
from utils.distributed import world_size

Rows = tuple[torch.Tensor, torch.Tensor]


class Recorder(MetricSet):
    """Measures as a MetricSet does, and keeps outputs and targets that are rows of numbers.

    Args:
        metrics: as MetricSet's.
        writer: as MetricSet's.
        device: as MetricSet's.
        limit: the most numbers to keep. Of a pass that has more, nothing is kept.
    """

    def __init__(
        self,
        metrics: Iterable[Any],
        writer: Any = None,
        device: torch.device | None = None,
        limit: float = math.inf,
    ) -> None:
        super().__init__(metrics, writer, device)
        self._limit = limit if world_size() == 1 else 0  # a rank sees only its shard of the split
        self.reset()

    def reset(self) -> None:
        super().reset()
        self._rows: list[Rows] | None = []  # None once the pass cannot be kept
        self._numbers_left = self._limit

    def measure(self, loss: torch.Tensor, output: Any, target: Any, n: int) -> None:
        super().measure(loss, output, target, n)
        if self._rows is None:
            return
        if not _are_rows(output, target, n):
            self._rows = None
            return
        self._numbers_left -= output.numel() + target.numel()
        self._rows.append((output.detach(), target.detach()))
        if self._numbers_left < 0:
            self._rows = None

    def recorded(self) -> Rows | None:
        """Returns outputs and targets of all samples in their order, on the CPU.

        Returns:
            ``(output, target)``: (N, C) or (N,) float, and (N,) or (N, K). None if the pass was
            not one of such rows, or had more numbers than the limit.
        """
        if not self._rows:
            return None
        try:
            outputs, targets = zip(*self._rows, strict=True)
            return torch.cat(outputs).float().cpu(), torch.cat(targets).cpu()
        except RuntimeError:  # rows of different lengths
            return None


def _are_rows(output: Any, target: Any, n: int) -> bool:
    if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor):
        return False
    has_dimensions = 1 <= output.ndim <= 2 and 1 <= target.ndim <= 2
    return has_dimensions and len(output) == len(target) == n
