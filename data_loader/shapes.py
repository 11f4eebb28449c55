"""Segmentation: generated pictures of circles, squares and triangles, with their masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from base import BaseDataLoader
from base.data.image_file import read_pictures

CLASSES = ("background", "circle", "square", "triangle")
IGNORE_INDEX = 255  # the edge of each shape, where the right class is a matter of taste
NUM_TRAIN, NUM_TEST = 400, 100
TRAIN_SEED, TEST_SEED = 1, 2
NOISE = 0.25  # the standard deviation of a pixel
COLOURS = ((0.9, 0.3, 0.4), (0.3, 0.9, 0.4), (0.4, 0.3, 0.9))  # of a circle, a square, a triangle


class Shapes(Dataset[Any]):
    """Noisy pictures of one to three shapes: a picture (3, size, size) float, classes (size, size).

    The classes are int64. The edge of each shape is ``IGNORE_INDEX``, as in Pascal VOC.

    Args:
        transform: a transform of torchvision's v2, which is called with a picture and its mask, so
            that a random flip turns both.
    """

    classes = CLASSES

    def __init__(
        self, count: int, size: int, seed: int, transform: Callable[..., Any] | None = None
    ) -> None:
        self.transform = transform
        random = np.random.default_rng(seed)
        pairs = [draw_shapes(random, size) for _ in range(count)]
        self.pictures = torch.from_numpy(np.stack([picture for picture, _ in pairs]))
        self.masks = torch.from_numpy(np.stack([mask for _, mask in pairs]))

    def __len__(self) -> int:
        return len(self.pictures)

    def read(self, path: Path) -> Iterator[tuple[str, Any]]:
        """Reads pictures for ``test.py --predict``."""
        return read_pictures(path)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        from torchvision import tv_tensors

        # Their classes tell a transform which of them is the picture.
        picture: Any = tv_tensors.Image(self.pictures[index])
        mask: Any = tv_tensors.Mask(self.masks[index])
        if self.transform is not None:
            picture, mask = self.transform(picture, mask)
        return picture.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor).long()


def draw_shapes(random: np.random.Generator, size: int) -> tuple[Any, Any]:
    """Draws a picture (3, size, size) float32, and its mask (size, size) uint8."""
    y, x = np.mgrid[:size, :size]
    picture = np.full((3, size, size), random.uniform(0.2, 0.8), dtype=np.float32)
    mask = np.zeros((size, size), dtype=np.uint8)
    for _ in range(random.integers(1, 4)):
        label = random.integers(1, len(CLASSES))
        radius = random.uniform(0.12, 0.22) * size
        dx, dy = x - random.uniform(0.2, 0.8) * size, y - random.uniform(0.2, 0.8) * size
        distance = {
            1: np.hypot(dx, dy),
            2: np.maximum(abs(dx), abs(dy)),
            3: np.maximum(abs(dx) * 1.8 + dy, -1.6 * dy),
        }[int(label)]
        colour = np.array(COLOURS[label - 1]) + random.uniform(-0.3, 0.3, 3)
        picture[:, distance < radius] = colour[:, None]
        mask[distance < radius] = label
        mask[abs(distance - radius) < 0.75] = IGNORE_INDEX
    noise = random.normal(0, NOISE, picture.shape)
    return (picture + noise).astype(np.float32), mask


class ShapesDataLoader(BaseDataLoader):
    """400 training and 100 test pictures of ``Shapes``.

    Args:
        training: whether to use the training pictures or the test pictures.
        size: the height and width of a picture, in pixels.
        augment: whether to mirror training pictures at random.
        split_seed, folds, fold: as for ``BaseDataLoader``.
    """

    def __init__(
        self,
        batch_size: int = 16,
        shuffle: bool = True,
        validation_split: float | int = 0.0,
        num_workers: int = 0,
        training: bool = True,
        size: int = 32,
        augment: bool = True,
        split_seed: int = 0,
        folds: int | None = None,
        fold: int | None = None,
    ) -> None:
        from torchvision.transforms import v2

        flips = v2.Compose([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()])
        count, seed = (NUM_TRAIN, TRAIN_SEED) if training else (NUM_TEST, TEST_SEED)
        super().__init__(
            Shapes(count, size, seed, flips if training and augment else None),
            batch_size,
            shuffle,
            validation_split,
            num_workers,
            eval_transform=v2.Identity(),
            split_seed=split_seed,
            folds=folds,
            fold=fold,
        )
