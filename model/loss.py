"""Losses: ``loss(output, target) -> number``. A config may also name losses of torch."""

import torch
import torch.nn.functional as F


def nll_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of log-probabilities (N, C) and classes (N,)."""
    return F.nll_loss(output, target)
