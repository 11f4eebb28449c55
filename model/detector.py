"""A small detector, which learns from random weights on a CPU."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator

STRIDES = (8, 16)  # of the two maps of features, in pixels


class SmallFCOS(FCOS):
    """torchvision's FCOS with a backbone of a few layers.

    In training, ``forward`` takes a list of images (3, H, W) and one of targets, and returns a dict
    of losses. In evaluation, it returns a dict of ``boxes``, ``labels`` and ``scores`` for each
    image. Source: Tian et al. 2019, https://arxiv.org/abs/1904.01355.

    Args:
        num_classes: the number of classes, with the background as class 0.
        width: the number of channels of the features; a multiple of 32.
        image_size: images are scaled to this size; a multiple of 32.
        score_thresh: boxes with lower scores are not returned.
    """

    def __init__(
        self, num_classes: int, width: int = 64, image_size: int = 96, score_thresh: float = 0.05
    ) -> None:
        # Each place predicts one box.
        anchors = AnchorGenerator(tuple((stride,) for stride in STRIDES), ((1.0,),) * len(STRIDES))
        super().__init__(
            Backbone(width),
            num_classes,
            min_size=image_size,
            max_size=image_size,
            image_mean=[0.5, 0.5, 0.5],
            image_std=[0.25, 0.25, 0.25],
            anchor_generator=anchors,
            score_thresh=score_thresh,
        )


class Backbone(nn.Module):
    """Five convolutions. The last two give the features with the strides 8 and 16.

    Attributes:
        out_channels: the number of channels of the features, which torchvision's detectors read.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_channels = width
        self.stem = nn.Sequential(
            make_layer(3, width // 4),
            make_layer(width // 4, width // 2),
            make_layer(width // 2, width),
        )
        self.last = make_layer(width, width)

    def forward(self, images: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        fine = self.stem(images)
        return OrderedDict(fine=fine, coarse=self.last(fine))


def make_layer(in_channels: int, out_channels: int) -> nn.Sequential:
    """Returns two convolutions that halve the size of the map."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )
