"""Photographs in folders, one for each class."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from base import BaseDataLoader
from base.data.image_file import open_image
from utils.errors import UserError

# Pretrained networks expect images that are normalised with these statistics of ImageNet.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def read_image(path: str) -> Any:
    """Reads an image as uint8 (3, H, W), without PIL if possible, because PIL is slower."""
    from torchvision.transforms.v2.functional import pil_to_tensor, to_dtype

    if Path(path).suffix.lower() not in (".jpg", ".jpeg", ".png", ".gif"):
        return pil_to_tensor(open_image(path))
    from torchvision.io import decode_image

    image = decode_image(path, mode="RGB", apply_exif_orientation=True)
    return to_dtype(image, torch.uint8, scale=True)  # a PNG may have 16 bits


def image_loader(mode: Literal["RGB", "L"] = "RGB") -> Callable[[str], Any]:
    """Makes a ``loader`` for torchvision's ImageFolder that returns PIL images.

    Unlike torchvision's own, it reads 16-bit images right, and turns photographs as the camera has
    noted. ``L`` gives one channel.
    """
    return partial(open_image, mode=mode)


class PhotoDataLoader(BaseDataLoader):
    """Photographs in folders: images (N, 3, size, size) float, classes (N,).

    Args:
        data_dir: the folder with ``train/CLASS/`` and ``val/CLASS/``.
        training: whether to use the photographs in ``train`` or those in ``val``.
        size: the height and width of the network's input, in pixels.
        augment: whether to crop and mirror training images at random.
        source: where to download the data; shown in the error if the data is missing.
        split_seed, folds, fold: as for ``BaseDataLoader``. With folds, the photographs in ``train``
            are divided, and those in ``val`` are for the test.
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
        split_seed: int = 0,
        folds: int | None = None,
        fold: int | None = None,
    ) -> None:
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import v2

        # Resizes to 256 and crops 224 pixels by default, as is usual for ImageNet.
        plain = v2.Compose([v2.Resize(size * 8 // 7, antialias=True), v2.CenterCrop(size)])
        crop = plain
        if training and augment:
            random_crop = v2.RandomResizedCrop(size, scale=(0.5, 1.0), antialias=True)
            crop = v2.Compose([random_crop, v2.RandomHorizontalFlip()])
        normalise = v2.Compose(
            [
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(IMAGENET_MEAN, IMAGENET_STD, inplace=True),
            ]
        )
        root = Path(data_dir, "train" if training else "val")
        try:
            dataset = ImageFolder(str(root), crop, loader=read_image)
        except OSError as error:
            message = f"{root}: must hold a folder of photographs for each class"
            if source:
                message += f"; download them from {source} and unpack them into {data_dir}"
            raise UserError(f"{message} ({error.args[-1]})") from error
        self._validation = (data_dir, batch_size, False, num_workers, False, size, False, source)
        super().__init__(
            dataset,
            batch_size,
            shuffle,
            num_workers=num_workers,
            batch_transform=normalise,
            eval_transform=plain,
            stratify=True,
            split_seed=split_seed,
            folds=folds,
            fold=fold,
        )

    def split_validation(self) -> BaseDataLoader | None:
        """Returns a loader of the fold, or else of the photographs in ``val``."""
        fold = super().split_validation()
        return PhotoDataLoader(*self._validation) if fold is None else fold
