"""Data loaders. A config names a class in another file of this folder as ``"file.Name"``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

from base import BaseDataLoader
from base.data.split import split_indices
from utils.download import downloading


class DigitsDataLoader(BaseDataLoader):
    """scikit-learn's 1,797 handwritten digits: images (N, 1, 8, 8) float in [0, 1], classes (N,).

    Args:
        training: whether to use the 1,438 training images or the 359 test images.
        split_seed, folds, fold: as for ``BaseDataLoader``.
    """

    def __init__(
        self,
        batch_size: int = 64,
        shuffle: bool = True,
        validation_split: float | int = 0.0,
        num_workers: int = 0,
        training: bool = True,
        split_seed: int = 0,
        folds: int | None = None,
        fold: int | None = None,
    ) -> None:
        # The file of load_digits(). Importing scikit-learn would take longer than an epoch.
        spec = find_spec("sklearn")
        assert spec is not None
        assert spec.origin is not None
        file = Path(spec.origin).with_name("datasets") / "data" / "digits.csv.gz"
        table = np.loadtxt(file, delimiter=",", dtype=np.int64)
        pixels, classes = table[:, :-1], table[:, -1]
        train, test = split_indices(len(classes), 0.2, labels=classes)
        chosen = train if training else test
        images = torch.tensor(pixels[chosen].reshape(-1, 1, 8, 8) / 16.0, dtype=torch.float32)
        dataset = TensorDataset(images, torch.tensor(classes[chosen]))
        super().__init__(
            dataset,
            batch_size,
            shuffle,
            validation_split,
            num_workers,
            stratify=True,
            split_seed=split_seed,
            folds=folds,
            fold=fold,
        )


class MnistDataLoader(BaseDataLoader):
    """MNIST, normalised as in pytorch-template: images (N, 1, 28, 28) float, classes (N,).

    The images are kept in memory as bytes.

    Args:
        data_dir: the folder that holds ``MNIST/raw``. Missing files are downloaded into it.
        training: whether to use the 60,000 training images or the 10,000 test images.
        split_seed, folds, fold: as for ``BaseDataLoader``.
    """

    def __init__(
        self,
        data_dir: str,
        batch_size: int,
        shuffle: bool = True,
        validation_split: float | int = 0.0,
        num_workers: int = 0,
        training: bool = True,
        split_seed: int = 0,
        folds: int | None = None,
        fold: int | None = None,
    ) -> None:
        from torchvision import datasets
        from torchvision.transforms import v2

        self.data_dir = data_dir
        with downloading(datasets.MNIST, data_dir):
            mnist = datasets.MNIST(data_dir, train=training, download=True)
        dataset = TensorDataset(mnist.data.unsqueeze(1), mnist.targets)
        # The first two steps give the same bits as ToTensor, which ``scale=True`` does not.
        steps = v2.Compose(
            [
                v2.ToDtype(torch.float32),
                v2.Normalize((0,), (255,)),
                v2.Normalize((0.1307,), (0.3081,)),
            ]
        )
        # A loader of pytorch-template, which may be the parent of a migrated one, takes no folds.
        split = {"split_seed": split_seed, "folds": folds, "fold": fold, "stratify": bool(folds)}
        given: dict[str, Any] = {name: value for name, value in split.items() if value}
        super().__init__(
            dataset,
            batch_size,
            shuffle,
            validation_split,
            num_workers,
            batch_transform=steps,
            **given,
        )
