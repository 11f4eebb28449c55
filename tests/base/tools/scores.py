"""Outputs of an imaginary classifier."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def make_scores(n: int = 400, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (n, classes) that are often right, and their targets (n,)."""
    draw = torch.Generator().manual_seed(0)
    target = torch.randint(classes, (n,), generator=draw)
    return torch.randn(n, classes, generator=draw) + 2 * F.one_hot(target, classes), target
