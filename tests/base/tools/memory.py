"""A device without memory for more than some samples, for models on the CPU."""

from __future__ import annotations

from typing import Any

import torch


class MemoryLimit(torch.autograd.Function):
    """Passes inputs on, and runs out of memory for more than ``n_samples`` of them.

    It does so in the forward pass or, if ``in_backward``, at the very end of the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, n_samples: int, in_backward: bool) -> torch.Tensor:
        is_too_large = len(x) > n_samples
        ctx.fails = is_too_large and in_backward
        if is_too_large and not in_backward:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        if ctx.fails:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return gradients[0], None, None


def limit_memory(trainer: Any, n_samples: int, in_backward: bool = False) -> Any:
    """Gives the trainer's model memory for ``n_samples``, in training only; returns the trainer."""

    def before_forward(_module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> Any:
        if not torch.is_grad_enabled():
            return None
        x = inputs[0].flatten(1).requires_grad_(in_backward)
        return (MemoryLimit.apply(x, n_samples, in_backward),)

    trainer.model.register_forward_pre_hook(before_forward)
    return trainer
