"""The exponential moving average of a model's weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from base.loop.gradient_check import READ_AT_ONCE


class EMA(AveragedModel):
    """A copy of a model whose weights follow those of the model.

    ``average = decay * average + (1 - decay) * weight``, after each optimizer step that moves the
    weights. The first one copies the weights. Buffers and integers are always copied.

    torch's ``update_parameters`` gives the same numbers, but copies its counter to the device of
    the weights, which waits for that device in every step.

    Args:
        model: without a wrapper.
        decay: the fraction of the average that stays in a step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(_copy(model))  # type: ignore[no-untyped-call]
        self.decay = decay
        _renew_buffers(self.module, model)  # a copy of an expanded tensor could not be written to

    @torch.no_grad()
    def update_parameters(self, model: nn.Module, moved: torch.Tensor | bool = True) -> None:
        """Follows ``model`` after an optimizer step.

        Args:
            model: without a wrapper.
            moved: whether the step moved the weights; fp16 leaves steps out. A tensor of shape ()
                stays on its device.
        """
        if isinstance(moved, torch.Tensor) and moved.device.type in READ_AT_ONCE:
            moved = bool(moved)
        averages: list[torch.Tensor] = []
        weights: list[torch.Tensor] = []
        for average, weight in zip(self.module.parameters(), model.parameters(), strict=True):
            if average.is_floating_point() or average.is_complex():
                averages.append(average)
                weights.append(weight)
            else:
                average.copy_(weight)  # a mean of equal integers may be rounded to another one
        if isinstance(moved, torch.Tensor):
            self._follow_on_device(averages, weights, moved)
        elif moved:
            self._follow(averages, weights)
        self._copy_buffers(model)

    def _follow(self, averages: list[torch.Tensor], weights: list[torch.Tensor]) -> None:
        if int(self.n_averaged) == 0:  # the counter stays on the CPU
            for average, weight in zip(averages, weights, strict=True):
                average.copy_(weight)
        elif averages:
            torch._foreach_lerp_(averages, weights, 1 - self.decay)
        self.n_averaged += 1

    def _follow_on_device(
        self, averages: list[torch.Tensor], weights: list[torch.Tensor], moved: torch.Tensor
    ) -> None:
        """As ``_follow``, without reading ``moved``: a step that moved nothing has the weight 0."""
        self.n_averaged = self.n_averaged.to(moved.device, non_blocking=True)  # once
        factor = torch.where(self.n_averaged == 0, 1.0, 1 - self.decay) * moved
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, factor.to(average))
        self.n_averaged += moved

    def _copy_buffers(self, model: nn.Module) -> None:
        ours, theirs = list(self.module.buffers()), list(model.buffers())
        if [(b.shape, b.dtype) for b in ours] != [(b.shape, b.dtype) for b in theirs]:
            _renew_buffers(self.module, model)
            return
        for average, buffer in zip(ours, theirs, strict=True):
            average.copy_(buffer)


def _copy(model: nn.Module) -> nn.Module:
    """Copies a model, also if a module holds a computed tensor, as torch's ``weight_norm`` does."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return copy.deepcopy(model, memo)


def _renew_buffers(average: nn.Module, model: nn.Module) -> None:
    """Gives ``average`` copies of all buffers: some may have another shape or dtype, or be new."""
    copies: dict[int, torch.Tensor] = {}  # a buffer that modules share stays shared
    for ours, theirs in zip(average.modules(), model.modules(), strict=True):
        buffers = dict(theirs.named_buffers(recurse=False, remove_duplicate=False))
        for name, _ in list(ours.named_buffers(recurse=False, remove_duplicate=False)):
            if name not in buffers:
                setattr(ours, name, None)
        for name, buffer in buffers.items():
            renewed = copies.setdefault(id(buffer), buffer.detach().clone())
            is_persistent = name not in theirs._non_persistent_buffers_set
            ours.register_buffer(name, renewed, is_persistent)
