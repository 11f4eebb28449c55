"""Metrics: ``metric(output, target) -> number``, a mean over the batch; torchmetrics' are found too.

They stay on the device (no ``.item()``), so that a step does not wait for them.
"""

import torch


def accuracy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The share of samples whose highest score (N, C) is at the target class (N,)."""
    return (output.argmax(dim=1) == target).float().mean()


def top_k_acc(output: torch.Tensor, target: torch.Tensor, k: int = 3) -> torch.Tensor:
    """The share of samples whose target class (N,) is among the ``k`` highest scores (N, C)."""
    return (output.topk(k, dim=1).indices == target.unsqueeze(1)).any(dim=1).float().mean()


def binary_accuracy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The share of samples whose logit (N,) has the sign of the target (N,), which is 0 or 1."""
    return ((output > 0) == (target > 0.5)).float().mean()
