"""Histograms of weights and gradients for the trackers: ``trainer.histogram_period``."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from base.loop.watcher import WatchedTrainer, Watcher


class Histograms(Watcher):
    """Writes histograms before the first optimizer step of an epoch.

    The gradients are those that the optimizer gets: unscaled, averaged and clipped.

    Args:
        trainer: has the model and the writer.
        optimizer: gets a hook that runs before its steps.
        period: the number of epochs between two times.
    """

    option = "histogram_period"

    def __init__(self, trainer: WatchedTrainer, optimizer: Optimizer, period: int) -> None:
        self.trainer, self.period = trainer, period
        self._is_due = False
        optimizer.register_step_pre_hook(lambda *_: self._before_step())

    @classmethod
    def make(cls, trainer: WatchedTrainer) -> Histograms | None:
        period = trainer.trainer_options.histogram_period
        if period is None or trainer.optimizer is None:
            return None
        return cls(trainer, trainer.optimizer, period)

    def train_batch(self, batch: Any) -> None:
        progress = self.trainer.progress
        if progress.batch == 1 and progress.epoch % self.period == 0:
            self._is_due = self.trainer.writer.enabled

    def _before_step(self) -> None:
        if not self._is_due:
            return
        self._is_due = False
        model = self.trainer.parallel.unwrap(self.trainer.model)
        for name, parameter in model.named_parameters():
            self.trainer.writer.add_histogram(f"weights/{name}", parameter)
            if parameter.grad is not None:
                self.trainer.writer.add_histogram(f"gradients/{name}", parameter.grad)
