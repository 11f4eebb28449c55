"""Two random views of each sample, for training without labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.data import Dataset

from base import BaseDataLoader
from data_loader.data_loaders import DigitsDataLoader


class TwoViews(Dataset[Any]):
    """Gives two random views of each picture: ``(view, view, class)``.

    The loader seeds each batch, so the views depend neither on the workers nor on a resume.

    Args:
        dataset: gives ``(picture, class)``.
        augment: makes a view, as a random transform of torchvision does.
    """

    def __init__(self, dataset: Dataset[Any], augment: Callable[[Any], Any]) -> None:
        self.dataset: Any = dataset
        self.augment = augment

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, Any, Any]:
        picture, label = self.dataset[index]
        return self.augment(picture), self.augment(picture), label


class DigitsViewsDataLoader(BaseDataLoader):
    """Two views of scikit-learn's digits: pairs of images (N, 1, 8, 8) float, and classes (N,).

    Only the validation looks at the classes.

    Args:
        augment_transform: makes a view of an image.
        training: whether to use the 1,438 training images or the 359 test images.
        num_workers, drop_last: as for torch's DataLoader.
    """

    def __init__(
        self,
        augment_transform: Callable[[Any], Any],
        batch_size: int = 128,
        shuffle: bool = True,
        validation_split: float | int = 0.0,
        training: bool = True,
        num_workers: int = 0,
        drop_last: bool = False,
    ) -> None:
        digits = DigitsDataLoader(training=training).dataset
        dataset = TwoViews(digits, augment_transform)
        super().__init__(
            dataset,
            batch_size,
            shuffle,
            validation_split,
            num_workers=num_workers,
            drop_last=drop_last,
        )
