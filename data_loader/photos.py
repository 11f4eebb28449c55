"""Photographs in folders, one for each class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from base import BaseDataLoader
from utils.errors import UserError

MEAN, STD = (
    (0.485, 0.456, 0.406),
    (0.229, 0.224, 0.225),
)  # of ImageNet: what pretrained networks expect


def read_image(path: str) -> Any:
    """An image as uint8 (3, H, W); JPEG, PNG, GIF and WebP without PIL, which is slower."""
    if Path(path).suffix.lower() in (".jpg", ".jpeg", ".png", ".gif", ".webp"):
        from torchvision.io import decode_image

        return decode_image(path, mode="RGB", apply_exif_orientation=True)
    from torchvision.datasets.folder import pil_loader
    from torchvision.transforms.v2.functional import pil_to_tensor

    return pil_to_tensor(pil_loader(path))


class PhotoDataLoader(BaseDataLoader):
    """Photographs in ``data_dir/train/CLASS/`` and ``data_dir/val/CLASS/``: (N, 3, size, size) float, classes (N,).

    Args:
        data_dir: the folder that holds ``train`` and ``val``.
        training: the photographs in ``train``; False: those in ``val``.
        size: of the square that the network gets, in pixels.
        augment: cut training squares out at random, and mirror half of them; False: all as for validation.
        source: where the data can be had, told when it is not there.
    """

    def __init__(
        self,
        data_dir: str,
        batch_size: int = 32,
        shuffle: bool = True,
        num_workers: int = 2,
        training: bool = True,
        size: int = 224,
        augment: bool = True,
        source: str = "",
    ) -> None:
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import v2

        cut = [
            v2.Resize(size * 8 // 7, antialias=True),
            v2.CenterCrop(size),
        ]  # 256 and 224: as ImageNet is validated
        if training and augment:
            cut = [
                v2.RandomResizedCrop(size, scale=(0.5, 1.0), antialias=True),
                v2.RandomHorizontalFlip(),
            ]
        normalise = v2.Compose(
            [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD, inplace=True)]
        )
        root = Path(data_dir, "train" if training else "val")
        try:
            dataset = ImageFolder(str(root), v2.Compose(cut), loader=read_image)
        except OSError as error:
            hint = f"; it can be had at {source}, unpacked into {data_dir}" if source else ""
            raise UserError(
                f"{root}: no photographs, in a folder for each class{hint} ({error.args[-1]})"
            ) from error
        self._validation = (data_dir, batch_size, False, num_workers, False, size, False, source)
        super().__init__(
            dataset, batch_size, shuffle, num_workers=num_workers, batch_transform=normalise
        )

    def split_validation(self) -> BaseDataLoader:
        """The photographs in ``val``."""
        return PhotoDataLoader(*self._validation)
