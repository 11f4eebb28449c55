"""Augmentation of full batches ``[images, target]``, for a loader's ``batch_transform``.

Each sample gets its own random numbers. They always come from the CPU's generator, for images on
any device. No transform waits for the device. Images have the shape (N, C, H, W) and any dtype.

These transforms can be combined by ``torchvision.transforms.v2.Compose``. The deterministic
transforms of v2 (ToDtype, Normalize, Resize) also work on full batches. Its random transforms do
not, because they draw one random number for all samples of a batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from utils.batch import PINNED_FOR
from utils.errors import UserError

KEY = "batch_transform"


def copy_to(device: torch.device, values: torch.Tensor) -> torch.Tensor:
    """Copies ``values`` to the device of the images, unless they were computed there.

    A copy from memory that is not pinned would wait until the device has done the step before.
    """
    if values.device == device:
        return values
    if device.type in PINNED_FOR:
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


class BatchTransform(nn.Module):
    """The parent of all transforms here. It changes the images of a batch and keeps the target."""

    def forward(self, batch: Any) -> Any:
        """Transforms a tensor of images, or the first item of a batch.

        Raises:
            UserError: the first item of the batch is no tensor of shape (N, C, H, W).
        """
        if isinstance(batch, torch.Tensor):
            return self.transform_images(batch)
        check_batch(self, batch)
        return [self.transform_images(batch[0]), *batch[1:]]

    def transform_images(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the transformed images, shape (N, C, H, W)."""
        raise NotImplementedError


def check_batch(transform: BatchTransform, batch: Any) -> None:
    """Raises UserError if a batch is no sequence that begins with images."""
    is_sequence = isinstance(batch, list | tuple) and len(batch) > 0
    if not is_sequence or not isinstance(batch[0], torch.Tensor) or batch[0].ndim != 4:
        message = f"{type(transform).__name__} needs [images (N, C, H, W), target]"
        raise UserError(message, key=KEY)


class FlipEach(BatchTransform):
    """Mirrors each image left to right with probability ``p``."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = p

    def transform_images(self, images: torch.Tensor) -> torch.Tensor:
        flipped = (torch.rand(len(images)) < self.p).nonzero().squeeze(1)
        flipped = copy_to(images.device, flipped)
        return images.index_copy(0, flipped, images.index_select(0, flipped).flip(-1))


class CropEach(BatchTransform):
    """Pads each side with ``padding`` zeros, and crops to the old size at a random position."""

    def __init__(self, padding: int = 4) -> None:
        super().__init__()
        self.padding = padding

    def transform_images(self, images: torch.Tensor) -> torch.Tensor:
        n, _, height, width = images.shape
        padded = F.pad(images, [self.padding] * 4)
        crops = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view of all possible crops
        top, left = copy_to(images.device, torch.randint(2 * self.padding + 1, (2, n)))
        return crops[torch.arange(n, device=images.device), :, top, left]


class NormalizeBatch(BatchTransform):
    """Subtracts ``mean`` and divides by ``std``: v2's Normalize, which waits for the device.

    Args:
        mean, std: one number for each channel. The images must be floats.
    """

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not all(std):
            message = f"needs as many deviations as means, none of them 0, not {mean} and {std}"
            raise UserError(f"NormalizeBatch {message}", key=KEY)
        self.values = [mean, std]
        self.on_device = torch.tensor(self.values)

    def transform_images(self, images: torch.Tensor) -> torch.Tensor:
        if not images.is_floating_point():
            message = "NormalizeBatch needs float images: put a ToDtype with scale before it"
            raise UserError(message, key=KEY)
        if (self.on_device.device, self.on_device.dtype) != (images.device, images.dtype):
            self.on_device = torch.tensor(self.values, dtype=images.dtype, device=images.device)
        mean, std = self.on_device[:, :, None, None]
        return images.sub(mean).div_(std)


class CutoutEach(BatchTransform):
    """Sets a random square of ``size`` pixels in each image to zero; it may cross the edge.

    Source: DeVries and Taylor 2017, https://arxiv.org/abs/1708.04552
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def transform_images(self, images: torch.Tensor) -> torch.Tensor:
        return images.masked_fill(draw_rectangles(images, self.size, self.size), 0)


def draw_rectangles(
    images: torch.Tensor, heights: torch.Tensor | int, widths: torch.Tensor | int
) -> torch.Tensor:
    """Draws a rectangle with a random centre in each image; it may cross the edge.

    Args:
        images: shape (N, C, H, W).
        heights: the height in pixels, as one number or as a tensor of shape (N, 1) on the CPU.
        widths: the width, like ``heights``.

    Returns:
        A mask of shape (N, 1, H, W), bool, True inside the rectangles, on the images' device.
    """
    masks: list[torch.Tensor] = []
    for length, size in zip(images.shape[2:], (heights, widths), strict=True):
        centre = torch.randint(length, (len(images), 1))
        positions = torch.arange(length)
        mask = (positions >= centre - size / 2) & (positions < centre + size / 2)
        masks.append(copy_to(images.device, mask))
    rows, columns = masks
    return rows[:, None, :, None] & columns[:, None, None, :]


class MixEach(BatchTransform):
    """The parent of the transforms that mix each sample with another one of the batch.

    The target of the batch holds class indices, shape (N,) or (N, 1), or class probabilities, shape
    (N, num_classes). It becomes class probabilities.

    Args:
        num_classes: the number of classes.
        alpha: each sample's mixing coefficient is drawn from Beta(alpha, alpha).
    """

    def __init__(self, num_classes: int, alpha: float = 1.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.alpha = alpha

    def forward(self, batch: Any) -> Any:
        check_batch(self, batch)
        images, target, *rest = batch
        classes = self.to_probabilities(target)
        lam = torch.distributions.Beta(self.alpha, self.alpha).sample((len(images),))
        partner = copy_to(images.device, torch.randperm(len(images)))
        images, lam = self.mix(images, images[partner], lam)
        lam = copy_to(images.device, lam)
        classes = classes.to(lam.dtype)
        mixed = classes * lam[:, None] + classes[partner] * (1 - lam[:, None])
        return [images, mixed, *rest]

    def to_probabilities(self, target: Any) -> torch.Tensor:
        """The target as class probabilities, shape (N, num_classes).

        Raises:
            UserError: it holds something else, or a class that is not below ``num_classes``.
        """
        shape = tuple(target.shape) if isinstance(target, torch.Tensor) else ()
        if shape[1:] == (self.num_classes,) and target.is_floating_point():
            return torch.as_tensor(target)
        if shape[1:] not in ((), (1,)) or not shape or target.is_floating_point():
            found = f"{target.dtype} {shape}" if shape else f"a {type(target).__name__}"
            message = f"{type(self).__name__} needs a target of class indices (N,), or of"
            message = f"{message} probabilities (N, {self.num_classes}), not {found}"
            raise UserError(message, key=KEY)
        classes: torch.Tensor = target.reshape(-1).long()
        try:
            return F.one_hot(classes, self.num_classes)
        except RuntimeError as error:  # it looks at the values of a CPU only
            message = f"{type(self).__name__} has num_classes={self.num_classes}: {error}"
            raise UserError(message, key=KEY) from error

    def mix(
        self, images: torch.Tensor, partners: torch.Tensor, lam: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mixes each image with its partner.

        Args:
            images: shape (N, C, H, W).
            partners: the images to mix in, with the same shape.
            lam: the drawn weights of ``images``, shape (N,), on the CPU.

        Returns:
            The mixed images, and the actual weights of ``images`` in them, shape (N,).
        """
        raise NotImplementedError


class MixUpEach(MixEach):
    """Replaces each image by its weighted mean with another one. The images must be floats.

    Source: Zhang et al. 2018, https://arxiv.org/abs/1710.09412
    """

    def mix(
        self, images: torch.Tensor, partners: torch.Tensor, lam: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not images.is_floating_point():
            message = "MixUpEach needs float images: put a ToDtype with scale before it"
            raise UserError(message, key=KEY)
        weight = copy_to(images.device, lam).to(images.dtype)[:, None, None, None]
        return images * weight + partners * (1 - weight), lam


class CutMixEach(MixEach):
    """Replaces a random rectangle of each image by the same rectangle of another image.

    Source: Yun et al. 2019, https://arxiv.org/abs/1905.04899
    """

    def mix(
        self, images: torch.Tensor, partners: torch.Tensor, lam: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        _, _, height, width = images.shape
        side = (1 - lam).sqrt()[:, None]
        mask = draw_rectangles(images, height * side, width * side)
        return torch.where(mask, partners, images), 1 - mask.to(lam.dtype).mean(dim=(1, 2, 3))
