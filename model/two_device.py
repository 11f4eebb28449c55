"""Model parallelism by hand: an example of a model that is too large for one device."""

from __future__ import annotations

import torch
from torch import nn

from base import BaseModel
from utils.distributed import local_rank


class TwoDeviceNet(BaseModel):
    """Two halves of a multi-layer perceptron, each on a device of its own.

    ``forward`` takes (N, …) float, ``in_features`` numbers a sample, and gives logits (N, num_classes) on the second.
    Not tried on two accelerators, which were not at hand.

    Args:
        devices: of the two halves, as ``["cuda:0", "cuda:1"]``; None takes the accelerators that are there, two for
            each process, or leaves all of it where the trainer puts it.
    """

    def __init__(
        self,
        in_features: int = 64,
        hidden: int = 128,
        num_classes: int = 10,
        devices: list[str] | None = None,
    ) -> None:
        super().__init__()
        own, accelerator = 2 * local_rank(), torch.accelerator.current_accelerator()
        if (
            devices is None
            and accelerator is not None
            and torch.accelerator.device_count() > own + 1
        ):
            devices = [f"{accelerator.type}:{own}", f"{accelerator.type}:{own + 1}"]
        first, second = devices or ("cpu", "cpu")
        self.front = nn.Sequential(nn.Linear(in_features, hidden), nn.ReLU()).to(first)
        self.back = nn.Sequential(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)
        ).to(second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.front(x.flatten(1))
        logits: torch.Tensor = self.back(features.to(self.back[0].weight.device))
        return logits
