"""Tabular data: the breast cancer data of scikit-learn."""

from __future__ import annotations

import torch
from torch.utils.data import TensorDataset

from base import BaseDataLoader
from base.data.split import split_indices


class BreastCancerDataLoader(BaseDataLoader):
    """569 tumours, each with 30 standardised measurements (N, 30) float and a label (N,) float.

    The label is 1.0 for benign and 0.0 for malignant.

    Args:
        training: whether to use the 456 training rows or the 113 test rows.
        split_seed, folds, fold: as for ``BaseDataLoader``.
    """

    def __init__(
        self,
        batch_size: int = 32,
        shuffle: bool = True,
        validation_split: float | int = 0.0,
        num_workers: int = 0,
        training: bool = True,
        split_seed: int = 0,
        folds: int | None = None,
        fold: int | None = None,
    ) -> None:
        from sklearn.datasets import load_breast_cancer

        table = load_breast_cancer()
        train, test = split_indices(len(table.target), 0.2, labels=table.target)
        # Statistics of the test rows must not leak into training.
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
            stratify=True,
            split_seed=split_seed,
            folds=folds,
            fold=fold,
        )
