"""Model parallelism by hand: an example of a model that is too large for one device."""

from __future__ import annotations

import torch
from torch import nn

from base import BaseModel
from utils.parallel import local_rank


class TwoDeviceNet(BaseModel):
    """Two halves of a multi-layer perceptron, each on a device of its own.

    ``forward`` takes (N, …) float, ``in_features`` numbers a sample, and gives logits (N, num_classes) on ``second``.
    Not tried on two accelerators, which were not at hand.

    Args:
        first: the device of the first half, as ``cuda:0``; None takes the accelerators that are there, two for each
            process, or leaves all of it where the trainer puts it.
        second: likewise.
    """

    def __init__(
        self,
        in_features: int = 64,
        hidden: int = 128,
        num_classes: int = 10,
        first: str | None = None,
        second: str | None = None,
    ) -> None:
        super().__init__()
        own = 2 * local_rank()
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.device_count() > own + 1 else None
        if accelerator is not None:
            first, second = first or f"{accelerator.type}:{own}", second or f"{accelerator.type}:{own + 1}"
        self.front = nn.Sequential(nn.Linear(in_features, hidden), nn.ReLU()).to(first or "cpu")
        self.back = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, num_classes))
        self.back.to(second or "cpu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.front(x.flatten(1))
        logits: torch.Tensor = self.back(features.to(self.back[0].weight.device))
        return logits
