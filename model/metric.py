"""Metrics: ``metric(output, target)`` returns a number, the mean over the batch.

Return a tensor, without ``.item()``, so that no step waits for the device. A config may also name
metrics of torchmetrics.
"""

import torch


def accuracy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The fraction of samples whose target class (N,) has the highest score (N, C)."""
    return (output.argmax(dim=1) == target).float().mean()


def top_k_acc(output: torch.Tensor, target: torch.Tensor, k: int = 3) -> torch.Tensor:
    """The fraction of samples whose target class (N,) is among the ``k`` highest scores (N, C)."""
    return (output.topk(k, dim=1).indices == target.unsqueeze(1)).any(dim=1).float().mean()


def binary_accuracy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The fraction of samples whose logit (N,) has the right sign for its target (N,), 0 or 1."""
    return ((output > 0) == (target > 0.5)).float().mean()
