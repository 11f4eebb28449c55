"""LeNet-5."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from base import BaseModel


class LeNet(BaseModel):
    """LeNet-5 with ReLU and max pooling, for 28x28 images.

    ``forward`` takes (N, 1, 28, 28) float and returns logits (N, num_classes).
    Source: LeCun et al. 1998, Gradient-based learning applied to document recognition.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc2(F.relu(self.fc1(x.flatten(1)))))
        logits: torch.Tensor = self.fc3(x)
        return logits
