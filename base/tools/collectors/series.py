"""The outputs and targets of forecasts of several channels, for reports."""

from __future__ import annotations

from typing import Any

import torch

from base.loop.rows import Rows
from base.loop.task import TaskFacts

MAX_NUMEL = 10_000  # of one sample; more is a picture and no forecast


class SeriesRows(Rows):
    """Collects outputs and targets (N, H, C): numbers for H steps of C channels."""

    @classmethod
    def fits(cls, output: Any, target: Any, facts: TaskFacts) -> bool:
        if not isinstance(output, torch.Tensor) or not isinstance(target, torch.Tensor):
            return False
        are_numbers = output.is_floating_point() and target.is_floating_point()
        has_form = output.ndim == 3 and output.shape == target.shape and len(output) > 0
        return are_numbers and has_form and output[0].numel() <= MAX_NUMEL
