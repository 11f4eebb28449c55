"""Small image classifiers. A config names a class in another file here as ``"file.Name"``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from base import BaseModel


class MnistModel(BaseModel):
    """pytorch-template's LeNet-like network for 28x28 images.

    ``forward`` takes (N, 1, 28, 28) float and returns log-probabilities (N, num_classes), which
    ``nll_loss`` expects.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.conv2_drop = nn.Dropout2d()
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.conv2_drop(self.conv2(x)), 2))
        x = F.relu(self.fc1(x.flatten(1)))
        x = F.dropout(x, training=self.training)
        return F.log_softmax(self.fc2(x), dim=1)


class SmallConvNet(BaseModel):
    """Two convolutions and a linear layer.

    ``forward`` takes (N, in_channels, H, W) float and returns logits (N, num_classes).

    Args:
        width: the channels of the first convolution; the second has twice as many.
        dropout: the dropout probability before the last layer.
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 1, width: int = 32, dropout: float = 0.25
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.AdaptiveAvgPool2d(4),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Dropout(dropout), nn.Linear(2 * width * 16, num_classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(x))
        return logits
