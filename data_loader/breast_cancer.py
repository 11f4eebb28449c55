"""A table: the breast cancer data of scikit-learn."""

from __future__ import annotations

import torch
from torch.utils.data import TensorDataset

from base import BaseDataLoader
from base.data.split import split_indices


class BreastCancerDataLoader(BaseDataLoader):
    """569 tumours: 30 measurements (N, 30) standardised, 1.0 for benign and 0.0 for malignant (N,).

    Args:
        training: the 456 training rows; False: the 113 held out for testing.
    """

    def __init__(
        self,
        batch_size: int = 32,
        shuffle: bool = True,
        validation_split: float | int = 0.0,
        num_workers: int = 0,
        training: bool = True,
    ) -> None:
        from sklearn.datasets import load_breast_cancer

        table = load_breast_cancer()
        train, test = split_indices(len(table.target), 0.2, labels=table.target)
        # Statistics of the test rows must not leak into the training.
        mean, std = table.data[train].mean(axis=0), table.data[train].std(axis=0)
        chosen = train if training else test
        rows = torch.tensor((table.data[chosen] - mean) / std, dtype=torch.float32)
        dataset = TensorDataset(rows, torch.tensor(table.target[chosen], dtype=torch.float32))
        super().__init__(
            dataset,
            batch_size,
            shuffle,
            validation_split,
            num_workers,
            stratify=bool(validation_split),
        )
