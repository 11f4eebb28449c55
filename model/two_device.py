"""Model parallelism by hand: an example of a model that is too large for one device."""

from __future__ import annotations

import torch
from torch import nn

from base import BaseModel
from utils.distributed import local_rank


class TwoDeviceNet(BaseModel):
    """A multi-layer perceptron whose two halves may be on two devices.

    ``forward`` takes (N, …) float with ``in_features`` numbers per sample, and returns logits
    (N, num_classes) on the second device. It was not tested on two accelerators.

    Args:
        devices: the devices of the two halves, such as ``["cuda:0", "cuda:1"]``.
            By default, each process uses two accelerators. If there are too few, the trainer moves
            the model to one device.
    """

    def __init__(
        self,
        in_features: int = 64,
        hidden: int = 128,
        num_classes: int = 10,
        devices: list[str] | None = None,
    ) -> None:
        super().__init__()
        first, second = devices or self._choose_devices()
        self.front = nn.Sequential(nn.Linear(in_features, hidden), nn.ReLU()).to(first)
        self.back = nn.Sequential(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)
        ).to(second)

    @staticmethod
    def _choose_devices() -> list[str]:
        first = 2 * local_rank()
        accelerator = torch.accelerator.current_accelerator()
        if accelerator is None or torch.accelerator.device_count() < first + 2:
            return ["cpu", "cpu"]
        return [f"{accelerator.type}:{first}", f"{accelerator.type}:{first + 1}"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.front(x.flatten(1))
        logits: torch.Tensor = self.back(features.to(self.back[0].weight.device))
        return logits
