"""When the learning rate changes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from utils.errors import UserError, one_line

if TYPE_CHECKING:
    from base.options import TrainerOptions
    from config import ConfigParser

STEPPED_PER_BATCH = ("OneCycleLR", "CyclicLR")


class LRSchedule:
    """When a learning-rate scheduler is stepped, and the warm-up before it.

    Warm-up multiplies the learning rate of single steps by ``(step + 1) / warmup_steps`` and
    restores it afterwards, so that any scheduler goes on underneath undisturbed.
    Source: Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.2.

    Args:
        lr_scheduler: any of torch's, or None.
        optimizer: whose parameter groups hold the learning rates.
        warmup_steps: optimizer steps of warm-up; 0 for none.
        interval: ``epoch`` or ``step``; None takes what suits the scheduler.

    Attributes:
        warmup_factor: that the last step's learning rate was multiplied by.
        epoch_lr: the first group's learning rate in the last epoch, before the scheduler moved it.
    """

    def __init__(
        self,
        lr_scheduler: Any,
        optimizer: torch.optim.Optimizer,
        warmup_steps: int = 0,
        interval: str | None = None,
    ) -> None:
        self.lr_scheduler, self.optimizer = lr_scheduler, optimizer
        self.warmup_steps = warmup_steps
        self.warmup_factor = 1.0
        self.epoch_lr: float | None = None
        name = type(lr_scheduler).__name__
        self.follows_metric = name == "ReduceLROnPlateau"
        self.interval = interval or ("step" if name in STEPPED_PER_BATCH else "epoch")
        if self.follows_metric and self.interval == "step":
            raise UserError(
                "ReduceLROnPlateau is stepped after an epoch, not after a step",
                key="trainer.lr_scheduler_interval",
            )

    def check_length(self, options: TrainerOptions, len_epoch: int | None) -> str:
        """Describes a scheduler that is laid out for another length than the run's.

        Args:
            options: of the run.
            len_epoch: the batches of an epoch; None if unknown.

        Returns:
            A sentence; empty where the lengths agree, or the scheduler has none.

        Raises:
            UserError: the warm-up would be longer than the run.
        """
        if len_epoch is None:
            return ""
        steps = options.check_length(len_epoch)
        length, unit = options.epochs, "epochs"
        if self.interval == "step":
            length, unit = steps, "optimizer steps"
        name = type(self.lr_scheduler).__name__
        for key in ("T_max", "total_steps"):
            planned = getattr(self.lr_scheduler, key, length)
            if planned != length:
                return f"{name} is laid out for {key}={planned}, and the run has {length} {unit}"
        last = max(getattr(self.lr_scheduler, "milestones", None) or [0])
        if last >= length:
            return f"{name} never reaches its last milestone, {last}: the run has {length} {unit}"
        return ""

    @contextlib.contextmanager
    def warming_up(self, step: int) -> Iterator[None]:
        """Multiplies the learning rates during optimizer step number ``step``, counted from 0."""
        self.warmup_factor = min(1.0, (step + 1) / max(1, self.warmup_steps))
        groups = self.optimizer.param_groups
        rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] = group["lr"] * self.warmup_factor
        yield
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate

    def after_step(self) -> None:
        """Moves a scheduler that is stepped after each optimizer step."""
        if self.lr_scheduler is not None and self.interval == "step":
            self._step()

    def after_epoch(self, log: dict[str, float], metric: str) -> None:
        """Moves a scheduler that is stepped after each epoch.

        Args:
            log: the epoch's numbers.
            metric: the one that ReduceLROnPlateau follows.

        Raises:
            UserError: ReduceLROnPlateau has nothing to follow.
        """
        self.epoch_lr = float(self.optimizer.param_groups[0]["lr"])
        if self.lr_scheduler is None or self.interval != "epoch":
            return
        if not self.follows_metric:
            self._step()
        elif metric in log:
            self._step(log[metric])
        else:
            reason = f"but '{metric}' is not among {', '.join(log)}" if metric else "which is 'off'"
            raise UserError(
                f"ReduceLROnPlateau follows trainer.monitor, {reason}", key="lr_scheduler"
            )

    def _step(self, *args: float) -> None:
        try:
            self.lr_scheduler.step(*args)
        except ValueError as error:  # OneCycleLR past its total_steps
            name = type(self.lr_scheduler).__name__
            raise UserError(f"{name}: {one_line(error)}", key="lr_scheduler") from None


def get_learning_rate(config: ConfigParser) -> float | None:
    """The learning rate that the config gives its optimizer, else the optimizer's default.

    Returns:
        The rate; None for an optimizer without an ``lr``.
    """
    lr = config.get_argument("optimizer", "lr")
    return float(lr) if isinstance(lr, int | float) else None


def make_lr_scheduler(config: ConfigParser, optimizer: torch.optim.Optimizer) -> Any:
    """Makes the config's ``lr_scheduler``.

    OneCycleLR and CyclicLR set rates of their own (``max_lr``, ``base_lr``). Where the
    optimizer's groups differ in their rates, these are scaled for each group in proportion.

    Returns:
        The scheduler; None if the config has none.
    """
    section = config.get("lr_scheduler")
    if not section:
        return None
    args = dict(section.get("args") or {})
    default_lr = optimizer.defaults.get("lr")
    group_lrs = [group.get("lr") for group in optimizer.param_groups]
    if default_lr and any(lr != default_lr for lr in group_lrs):
        for key in {"max_lr", "base_lr"} & args.keys():
            if isinstance(args[key], int | float):
                args[key] = [args[key] * lr / default_lr for lr in group_lrs]
    return config.build("lr_scheduler", optimizer, changed_args=args)
