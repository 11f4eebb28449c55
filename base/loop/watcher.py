"""Watcher: the interface of features that observe a training without changing its numbers."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from base.loop.progress import Monitor, Progress
from base.options import TrainerOptions
from base.parallel.strategy import Parallel


class WatchedTrainer(Protocol):
    """The attributes of a trainer that watchers may read."""

    config: Any
    trainer_options: TrainerOptions
    logger: logging.Logger
    writer: Any
    progress: Progress
    monitoring: Monitor
    parallel: Parallel
    device: torch.device
    model: Any
    criterion: Any
    metric_ftns: list[Any]
    optimizer: Any
    data_loader: Any
    valid_data_loader: Any  # a loader, or a dict of several
    valid_metrics: Any  # a MetricSet, or one for each loader
    len_epoch: int | None
    last_log: dict[str, Any]
    checkpoint_dir: Path


class Watcher:
    """Observes a training. A subclass overrides the methods that it needs.

    Attributes:
        option: the option of ``trainer`` that has no effect without this watcher.
        sees_all_batches: whether ``train_batch`` is called for every batch; otherwise it is called
            only for the first batch of an epoch, and the first batch after a resume.
    """

    option: ClassVar[str] = ""
    sees_all_batches: ClassVar[bool] = False

    @classmethod
    def make(cls, trainer: WatchedTrainer) -> Watcher | None:
        """Makes a watcher if the trainer's options ask for one."""
        return None

    def train_batch(self, batch: Any) -> None:
        """Called before a training step, with the batch on the device."""

    def begin_validation(self, name: str) -> None:
        """Called before the first batch of the validation set ``name``; empty for the only set."""

    def valid_batch(self, batch: Any) -> None:
        """Called before the validation of a batch, which is not yet on the device."""

    def after_validation(self, epoch: int) -> None:
        """Called after a validation, when ``valid_metrics`` holds its numbers."""

    def after_training(self) -> None:
        """Called after the last epoch, when its checkpoint is written."""


def make_watchers(trainer: WatchedTrainer) -> list[Watcher]:
    """Makes the watchers that the trainer's options ask for."""
    from base import features

    # A reference cycle would let the workers of the trainer's loader outlive the trainer.
    watched: WatchedTrainer = weakref.proxy(trainer)
    candidates = [kind.make(watched) for kind in features.of_kind(Watcher)]
    return [watcher for watcher in candidates if watcher is not None]
