"""The exponential moving average of a model's weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


class EMA(AveragedModel):
    """A copy of a model whose weights follow those of the model.

    ``average = decay * average + (1 - decay) * weight``, after each optimizer step. The first step
    copies the weights. Buffers and integers are always copied.

    torch's ``update_parameters`` gives the same numbers, but copies its counter to the device of
    the weights, which waits for that device in every step.

    Args:
        model: without a wrapper.
        decay: the fraction of the average that stays in a step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(_copy(model))  # type: ignore[no-untyped-call]
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        averages: list[torch.Tensor] = []
        weights: list[torch.Tensor] = []
        is_first = int(self.n_averaged) == 0  # the counter stays on the CPU
        for average, weight in zip(self.module.parameters(), model.parameters(), strict=True):
            if is_first or not (average.is_floating_point() or average.is_complex()):
                average.copy_(weight)  # a mean of equal integers may be rounded to another one
            else:
                averages.append(average)
                weights.append(weight)
        if averages:
            torch._foreach_lerp_(averages, weights, 1 - self.decay)
        for ours, buffer in zip(self.module.buffers(), model.buffers(), strict=True):
            ours.copy_(buffer)
        self.n_averaged += 1


def _copy(model: nn.Module) -> nn.Module:
    """Copies a model, also if a module holds a computed tensor, as torch's ``weight_norm`` does."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(model, memo)
