"""What the runs under torture train; copied into the project as data_loader/, model/ and trainer/torture.py."""

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
    """Points of four classes, augmented by the random numbers of Python, NumPy and torch; each tells its index."""

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
    """With dropout, and with batch norm, whose buffers are a state too."""

    def __init__(self) -> None:
        super().__init__()
        norm, drop = nn.BatchNorm1d(16), nn.Dropout(0.3)
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, 16), norm, nn.ReLU(), drop, nn.Linear(16, CLASSES)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Seen(nn.Module):
    """The indices of the samples that the weights have been trained on, in their order, by epoch."""

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
    """Trains as ever, remembers which samples, and says where it is (see calls_hooks.py)."""

    def __init__(self, *args: Any, pause: float = 0.002, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pause, self.seen = pause, Seen(self.epochs)
        torture_hooks.trainer = self

    def train_step(self, batch: Any) -> Any:
        self.seen.add(self.epoch, batch[1])
        torture_hooks.passed("step")
        time.sleep(self.pause)
        return super().train_step(batch)

    @staticmethod
    def forward(model: nn.Module, batch: Any) -> Any:
        points = batch[0]
        if not model.training:
            torture_hooks.passed("validation")
            points = points + 0.01 * torch.randn_like(points)  # as a model may that samples
        return model(points), batch[2]

    def _begin_epoch(self, epoch: int) -> None:
        torture_hooks.passed("epoch")
        super()._begin_epoch(epoch)
