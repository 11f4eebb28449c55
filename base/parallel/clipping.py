"""Clips gradients by value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from utils.dtensor import local_shard


@torch.no_grad()
def clip_grad_value(parameters: Iterable[nn.Parameter], max_value: float) -> None:
    """Clips each number of the gradients to the range from ``-max_value`` to ``max_value``.

    Infinite ones stay, because a gradient that is not finite is an error. torch's
    ``clip_grad_value_`` would hide them, and it takes neither sparse gradients nor complex ones.

    Args:
        parameters: of any kind. Of a sharded one, this rank's shard is clipped.
        max_value: above 0.
    """
    for parameter in parameters:
        grad: Any = parameter.grad
        if grad is None:
            continue
        if grad.is_sparse:  # only the sum of the values at one index is a number of the gradient
            parameter.grad = grad.coalesce()
            grad = parameter.grad.values()  # type: ignore[union-attr]
        grad = local_shard(grad)
        grad = torch.view_as_real(grad) if grad.is_complex() else grad
        is_infinite = grad.isinf()
        grad.clamp_(-max_value, max_value).masked_fill_(is_infinite, torch.inf)
