"""What looks at a training from outside: the interface. Nothing here changes a training."""

from __future__ import annotations

import logging
import weakref
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from base.loop.metrics import MetricSet
from base.loop.progress import Monitor, Progress
from base.options import TrainerOptions
from base.parallel.strategy import Parallel


class WatchedTrainer(Protocol):
    """The attributes of a trainer that watchers look at."""

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
    valid_data_loader: Any
    valid_metrics: MetricSet
    len_epoch: int | None
    last_log: dict[str, Any]
    checkpoint_dir: Path


class Watcher:
    """Looks at a training. Every method here does nothing.

    Attributes:
        option: the option of ``trainer`` that has no effect without this watcher.
        sees_all_batches: whether ``train_batch`` is called for every batch, and not only for the
            first one of an epoch, or of the rest of one.
    """

    option: ClassVar[str] = ""
    sees_all_batches: ClassVar[bool] = False

    @classmethod
    def make(cls, trainer: WatchedTrainer) -> Watcher | None:
        """A watcher of this kind, if the trainer's options ask for one."""
        return None

    def train_batch(self, batch: Any) -> None:
        """A batch is on the device, and will now be trained on."""

    def valid_batch(self, batch: Any) -> None:
        """A batch will now be validated on; it is where the loader left it."""

    def after_validation(self, epoch: int) -> None:
        """The model was validated; ``valid_metrics`` has seen the split."""

    def after_training(self) -> None:
        """The last epoch is over, and its checkpoint is written."""


def make_watchers(trainer: WatchedTrainer) -> list[Watcher]:
    """The watchers that the trainer's options ask for; they do not keep the trainer alive."""
    from base import features

    # With a reference cycle, the workers of the trainer's loader would outlive the trainer.
    watched: WatchedTrainer = weakref.proxy(trainer)
    made = [kind.make(watched) for kind in features.of_kind(Watcher)]
    return [watcher for watcher in made if watcher is not None]
