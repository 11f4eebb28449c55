"""The data, the model and the trainer of the runs under torture.

The copy of the project has this module as ``torture.py`` in data_loader/, model/ and trainer/.
"""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import torch
import torture_hooks
from torch import nn
from torch.utils.data import Dataset

from base import BaseDataLoader, BaseModel
from trainer.trainer import Trainer

SAMPLES, VALID, FEATURES, CLASSES = 96, 16, 8, 4


class Points(Dataset[Any]):
    """Points of four classes with their indices.

    The random numbers of Python, NumPy and torch augment them.
    """

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.targets = torch.arange(SAMPLES) % CLASSES
        centres = torch.randn(CLASSES, FEATURES, generator=generator)
        self.points = centres[self.targets] + torch.randn(SAMPLES, FEATURES, generator=generator)

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> Any:
        point = self.points[index] * random.uniform(0.8, 1.2)
        point = point + torch.from_numpy(np.random.normal(0, 0.1, FEATURES).astype(np.float32))
        return point + 0.1 * torch.randn(FEATURES), index, self.targets[index]


class Loader(BaseDataLoader):
    def __init__(self, batch_size: int = 8, num_workers: int = 0) -> None:
        super().__init__(Points(), batch_size, True, VALID, num_workers)


class Net(BaseModel):
    """Has dropout, and a batch norm, whose buffers are a state too."""

    def __init__(self) -> None:
        super().__init__()
        norm, drop = nn.BatchNorm1d(16), nn.Dropout(0.3)
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, 16), norm, nn.ReLU(), drop, nn.Linear(16, CLASSES)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Seen(nn.Module):
    """The indices of the samples that the weights were trained on, in order, for each epoch."""

    order: torch.Tensor
    count: torch.Tensor

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.register_buffer("order", torch.full((epochs, 2 * SAMPLES), -1))
        self.register_buffer("count", torch.zeros(epochs, dtype=torch.int64))

    def add(self, epoch: int, indices: torch.Tensor) -> None:
        start = int(self.count[epoch - 1])
        self.order[epoch - 1, start : start + len(indices)] = indices
        self.count[epoch - 1] += len(indices)


class Recorder(Trainer):
    """Records the samples, and reports the points that ``hooks.py`` knows."""

    def __init__(self, *args: Any, pause: float = 0.002, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pause, self.seen = pause, Seen(self.epochs)
        torture_hooks.trainer = self

    def train_step(self, batch: Any) -> Any:
        self.seen.add(self.progress.epoch, batch[1])
        torture_hooks.pass_point("step")
        time.sleep(self.pause)
        return super().train_step(batch)

    @staticmethod
    def forward(model: nn.Module, batch: Any) -> Any:
        points = batch[0]
        if not model.training:
            torture_hooks.pass_point("validation")
            points = points + 0.01 * torch.randn_like(points)  # as a model that samples does
        return model(points), batch[2]

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        torture_hooks.pass_point("epoch")
        return super()._train_epoch(epoch)
