"""Thin residual networks for 32x32 images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from base import BaseModel


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (option A of the paper)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.added_channels = stride, channels - channels_in

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        before = self.added_channels // 2
        after = self.added_channels - before
        return F.relu(y + F.pad(shortcut, (0, 0, 0, 0, before, after)))


class ResNet(BaseModel):
    """A CIFAR residual network of ``6 * blocks + 2`` layers.

    ``forward`` takes (N, 3, H, W) float and returns logits (N, num_classes).
    Source: He et al. 2016, https://arxiv.org/abs/1512.03385, section 4.2.

    Args:
        blocks: the number of blocks in each of the three stages.
        width: the channels of the first stage.
    """

    def __init__(
        self, blocks: int, num_classes: int = 10, in_channels: int = 3, width: int = 16
    ) -> None:
        super().__init__()
        first = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        layers: list[nn.Module] = [first, nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
        for stage in range(3):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(Block(channels, width * 2**stage, stride))
                channels = width * 2**stage
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


class ResNet20(ResNet):
    """20 layers, 0.27 million parameters."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3, width: int = 16) -> None:
        super().__init__(3, num_classes, in_channels, width)
