"""The numbers of single steps: loss, learning rates, gradient norm, speed, memory."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import torch

from base.loop.update import Update

BATCHES_BETWEEN_WRITES = 50  # writing takes as long as several small steps
MIN_SECONDS_BETWEEN_WRITES = 0.2


class StepWriter:
    """Writes the numbers of some steps. It skips most of them, because it waits for the device.

    Args:
        writer: gets the numbers.
        update: has the learning rates and the norm of the gradient.
        device: its memory use is written.

    Attributes:
        is_due: whether the next step will be written.
    """

    def __init__(self, writer: Any, update: Update, device: torch.device) -> None:
        self.writer, self.update, self.device = writer, update, device
        self.is_due = False
        self._last_time = 0.0
        self._last_n_samples = math.inf  # samples of the epoch at ``_last_time``

    def begin_batch(self, batch: int) -> None:
        """Decides whether to write the step of batch number ``batch`` of the epoch, from 1."""
        is_turn = batch % BATCHES_BETWEEN_WRITES == 1
        if is_turn and (batch == 1 or self._seconds_since() >= MIN_SECONDS_BETWEEN_WRITES):
            self.is_due = self.update.measure_grad_norm = True

    def after_step(self, loss: torch.Tensor, metrics: Any) -> None:
        """Writes the numbers of the last step.

        Args:
            loss: the loss of the step's last batch, one number.
            metrics: a MetricSet, which has counted the samples of the epoch.
        """
        self.is_due = False
        update, writer = self.update, self.writer
        update.check_losses()
        writer.set_step(update.progress.step)
        writer.add_scalar("loss", loss.item())
        for index, rate in enumerate(update.schedule.get_rates()):
            name = "lr" if index == 0 else f"lr_{index}"
            writer.add_scalar(name, rate)
        if update.grad_norm is not None:
            writer.add_scalar("grad_norm", update.grad_norm)
        n_samples = metrics.n_samples
        if n_samples > self._last_n_samples:  # in the same epoch, without a validation in between
            speed = (n_samples - self._last_n_samples) / self._seconds_since()
            writer.add_scalar("samples_per_sec", speed)
        self._last_time, self._last_n_samples = time.perf_counter(), n_samples
        writer.add_scalar("memory_mb", peak_memory_mb(self.device))

    def write_means(self, log: dict[str, float]) -> None:
        """Writes the means of an epoch before a validation; but single steps have the loss."""
        self._last_n_samples = math.inf  # the time of the validation does not count
        self.writer.set_step(self.update.progress.step)
        for name, value in log.items():
            if name != "loss":
                self.writer.add_scalar(name, value)

    def _seconds_since(self) -> float:
        return time.perf_counter() - self._last_time


def peak_memory_mb(device: torch.device) -> float:
    """The peak memory use in 10^6 bytes, of the device or, on a CPU, of the process.

    Apple's devices use the memory of the process, and torch before 2.13 cannot ask them.
    """
    if device.type not in ("cpu", "mps"):
        return torch.accelerator.max_memory_allocated(device) / 1e6
    import resource

    units_per_mb = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / units_per_mb
