"""The numbers of single steps: loss, learning rates, gradient norm, speed, memory."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch

from base.loop.update import Update
from utils.distributed import broadcast
from utils.errors import UserError
from utils.util import one_number

BATCHES_BETWEEN_WRITES = 50  # writing takes as long as several small steps
MIN_SECONDS_BETWEEN_WRITES = 0.2
ROW_NAMES = ("epoch", "batch", "lr", "step", "seconds")  # of a line of metrics.jsonl


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

    def write_means(self, log: dict[str, float]) -> dict[str, float]:
        """Writes the means of an epoch before a validation; but single steps have the loss.

        Returns:
            The same numbers.
        """
        self._last_n_samples = math.inf  # the time of the validation does not count
        self.writer.set_step(self.update.progress.step)
        self.write({name: value for name, value in log.items() if name != "loss"})
        return log

    def write(self, log: dict[str, float]) -> dict[str, float]:
        """Writes numbers at the writer's step, and returns them."""
        from utils.numbers import make_tags

        for name, tag in make_tags(log).items():
            self.writer.add_scalar(tag, log[name])
        return log

    def write_added(self, added: Any, log: Mapping[str, float]) -> dict[str, float]:
        """Writes the numbers that a trainer adds to those of an epoch.

        Args:
            added: numbers by name, or None for none.
            log: the other numbers of the epoch.

        Returns:
            The numbers of the main rank, which all ranks get.

        Raises:
            UserError: they are not a dict of numbers, or a name is taken.
        """
        added = broadcast({} if added is None else added)
        if added == {}:
            return {}
        numbers = check_added(added, log)
        self.writer.set_step(self.update.progress.step)
        return self.write(numbers)

    def _seconds_since(self) -> float:
        return time.perf_counter() - self._last_time


def check_added(added: Any, log: Mapping[str, float]) -> dict[str, float]:
    """The numbers that ``add_numbers`` of a trainer has returned, as plain ones."""
    advice = "add_numbers(log) must return a dict of numbers by name"
    if not isinstance(added, Mapping):
        raise UserError(f"{advice}, not a {type(added).__name__}", key="trainer.type")
    numbers = {}
    for name, value in added.items():
        number = one_number(value)
        if number is None or not isinstance(name, str):
            message = f"'{name}' is a {type(value).__name__}"
            raise UserError(f"{advice}, and {message}", key="trainer.type")
        if name in log or name in ROW_NAMES:
            message = f"add_numbers(log) returned '{name}', a name that is taken"
            raise UserError(f"{message}; return only further numbers", key="trainer.type")
        numbers[name] = float(number)
    return numbers


def peak_memory_mb(device: torch.device) -> float:
    """The peak memory use in 10^6 bytes, of the device or, on a CPU, of the process.

    Apple's devices use the memory of the process, and torch before 2.13 cannot ask them.
    """
    if device.type not in ("cpu", "mps"):
        return torch.accelerator.max_memory_allocated(device) / 1e6
    import resource

    units_per_mb = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / units_per_mb
