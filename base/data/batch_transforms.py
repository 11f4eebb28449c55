"""Augmentation of whole batches ``[images, target]``, drawn for each sample. For a loader's ``batch_transform``.

Images are (N, C, H, W), of any dtype, on any device; the random numbers are the CPU's everywhere. They go into a
``torchvision.transforms.v2.Compose`` like v2's own, whose deterministic ones (ToDtype, Normalize, Resize) work on whole
batches too; its random ones draw once for all of a batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from utils.errors import UserError


class BatchTransform(nn.Module):
    """The parent: ``change(images)`` where the target stays, else ``forward``."""

    def forward(self, batch: Any) -> Any:
        if isinstance(batch, torch.Tensor):
            return self.change(batch)
        if (
            not isinstance(batch, list | tuple)
            or not isinstance(batch[0], torch.Tensor)
            or batch[0].ndim != 4
        ):
            raise UserError(
                f"batch_transform: {type(self).__name__} needs [images (N, C, H, W), target]"
            )
        return [self.change(batch[0]), *batch[1:]]

    def change(self, images: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class FlipEach(BatchTransform):
    """Mirrors each image left to right with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def change(self, images: torch.Tensor) -> torch.Tensor:
        mirrored = (torch.rand(len(images)) < self.p).nonzero().squeeze(1).to(images.device)
        return images.index_copy(0, mirrored, images.index_select(0, mirrored).flip(-1))


class CropEach(BatchTransform):
    """Pads with zeros by ``padding`` pixels on each side, and cuts the first size out at a random place."""

    def __init__(self, padding: int = 4) -> None:
        super().__init__()
        self.padding = padding

    def change(self, images: torch.Tensor) -> torch.Tensor:
        n, _, height, width = images.shape
        windows = (
            F.pad(images, [self.padding] * 4).unfold(2, height, 1).unfold(3, width, 1)
        )  # views, at every place
        top, left = torch.randint(2 * self.padding + 1, (2, n)).to(images.device)
        return windows[torch.arange(n, device=images.device), :, top, left]


class CutoutEach(BatchTransform):
    """Sets a square of ``size`` pixels at a random place of each image to zero; it may reach over the edge.

    Source: DeVries and Taylor 2017, https://arxiv.org/abs/1708.04552
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def change(self, images: torch.Tensor) -> torch.Tensor:
        return images.masked_fill(rectangles(images, self.size, self.size), 0)


def rectangles(images: torch.Tensor, heights: Any, widths: Any) -> torch.Tensor:
    """Where a rectangle lies whose middle is drawn for each image: (N, 1, H, W) bool. It may reach over the edge.

    Args:
        heights, widths: in pixels, of all (a number) or of each (N, 1), on the CPU.
    """
    inside: list[torch.Tensor] = []
    for length, size in zip(images.shape[2:], (heights, widths), strict=True):
        middle, places = torch.randint(length, (len(images), 1)), torch.arange(length)
        inside.append((places >= middle - size / 2) & (places < middle + size / 2))
    rows, columns = inside
    return (rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)


class Mixed(BatchTransform):
    """The parent of those that mix each sample with another one: the target becomes probabilities, (N, num_classes).

    Args:
        num_classes: of the target (N,), given as classes.
        alpha: of the Beta(alpha, alpha) distribution from which each sample's share is drawn.
    """

    def __init__(self, num_classes: int, alpha: float = 1.0) -> None:
        super().__init__()
        self.num_classes, self.alpha = num_classes, alpha

    def forward(self, batch: Any) -> Any:
        images, target, *rest = batch
        share = torch.distributions.Beta(self.alpha, self.alpha).sample((len(images),))
        other = torch.randperm(len(images)).to(images.device)
        images, share = self.mix(images, images[other], share)
        share = share.to(images.device)
        classes = F.one_hot(target, self.num_classes).to(share.dtype)
        return [images, classes * share[:, None] + classes[other] * (1 - share[:, None]), *rest]

    def mix(
        self, images: torch.Tensor, others: torch.Tensor, share: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The mixed images (N, C, H, W), and what share of each is its own, (N,), as it was drawn: on the CPU."""
        raise NotImplementedError


class MixUpEach(Mixed):
    """Each image's weighted mean with another one. Give it float images.

    Source: Zhang et al. 2018, https://arxiv.org/abs/1710.09412
    """

    def mix(
        self, images: torch.Tensor, others: torch.Tensor, share: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not images.is_floating_point():
            raise UserError(
                "batch_transform: MixUpEach needs float images: put a ToDtype with scale before it"
            )
        weight = share.to(images)[:, None, None, None]
        return images * weight + others * (1 - weight), share


class CutMixEach(Mixed):
    """Each image with a rectangle of another one in it.

    Source: Yun et al. 2019, https://arxiv.org/abs/1905.04899
    """

    def mix(
        self, images: torch.Tensor, others: torch.Tensor, share: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        _, _, height, width = images.shape
        side = (1 - share).sqrt()[:, None]
        inside = rectangles(images, height * side, width * side)
        return torch.where(inside, others, images), 1 - inside.to(share.dtype).mean(dim=(1, 2, 3))
