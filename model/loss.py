"""Losses: ``loss(output, target) -> number``. torch's own are found without an entry here."""

import torch
import torch.nn.functional as F


def nll_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of log-probabilities (N, C) and classes (N,)."""
    return F.nll_loss(output, target)
