"""The exponential moving average of a model's weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """Makes a copy of a model that follows its weights; buffers and integers are copied.

    Args:
        model: without a wrapper.
        decay: the fraction of the average that stays in a step.
    """
    average: Any = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def follow(averages: Any, values: Any, num_averaged: Any) -> None:
        if averages[0].is_floating_point() or averages[0].is_complex():
            average(averages, values, num_averaged)
            return
        for averaged, value in zip(averages, values, strict=True):
            averaged.copy_(value)  # a mean of equal integers may be rounded to another one

    return AveragedModel(_copy(model), multi_avg_fn=follow)


def _copy(model: nn.Module) -> nn.Module:
    """Copies a model, also if a module holds a computed tensor, as torch's ``weight_norm`` does."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(model, memo)
