"""A U-Net for the segmentation of pictures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from base import BaseModel
from utils.errors import UserError


def make_block(channels_in: int, channels: int) -> nn.Sequential:
    """Two 3x3 convolutions that keep the size."""
    layers: list[nn.Module] = []
    for inputs in (channels_in, channels):
        layers.append(nn.Conv2d(inputs, channels, 3, padding=1, bias=False))
        layers += [nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(BaseModel):
    """Halves the size ``depth`` times and restores it, with a skip connection at each size.

    ``forward`` takes (N, in_channels, H, W) float and returns logits (N, num_classes, H, W). H and
    W may be any numbers from ``2 ** depth`` on.
    Source: Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597. Unlike there, convolutions
    are padded, so that the output has the size of the input, and followed by batch norms.

    Args:
        num_classes: the number of scores for each pixel; 1 for a binary mask with a BCE loss.
        width: the channels at the full size; each halving doubles them.
    """

    def __init__(
        self, num_classes: int, in_channels: int = 3, width: int = 16, depth: int = 3
    ) -> None:
        super().__init__()
        self.in_channels, self.min_size = in_channels, 2**depth
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList()
        for channels in widths:
            self.down.append(make_block(in_channels, channels))
            in_channels = channels
        self.up, self.merge = nn.ModuleList(), nn.ModuleList()
        for channels in reversed(widths[:-1]):
            self.up.append(nn.ConvTranspose2d(2 * channels, channels, 2, stride=2))
            self.merge.append(make_block(2 * channels, channels))
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self._check(x)
        skips: list[torch.Tensor] = []
        for block in self.down:
            if skips:
                x = F.max_pool2d(x, 2)
            x = block(x)
            skips.append(x)
        skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            skip = skips.pop()
            x = up(x)
            # The halving of an odd size has dropped a row or a column.
            missing = (0, skip.shape[3] - x.shape[3], 0, skip.shape[2] - x.shape[2])
            x = merge(torch.cat([skip, F.pad(x, missing)], dim=1))
        logits: torch.Tensor = self.classifier(x)
        return logits

    def _check(self, x: torch.Tensor) -> None:
        fits = x.ndim == 4 and x.shape[1] == self.in_channels and min(x.shape[2:]) >= self.min_size
        if not fits:
            raise UserError(
                f"UNet takes (N, {self.in_channels}, H, W) with sides of at least {self.min_size} "
                f"pixels, not {tuple(x.shape)}; set in_channels or depth",
                key="arch.args",
            )
