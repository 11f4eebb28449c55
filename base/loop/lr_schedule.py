"""The learning-rate schedule: when the scheduler is stepped, and the warm-up."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from base.data.loader import has_exact_length
from utils.errors import UserError, one_line

if TYPE_CHECKING:
    from base.options import TrainerOptions
    from config import ConfigParser

STEPPED_PER_BATCH = ("OneCycleLR", "CyclicLR")
METRIC_NAMES = ("metrics", "metric")  # of the parameter of `step`
PERIODS = ("T_max", "step_size")  # of schedulers of torch, which divide by them


class LRSchedule:
    """Steps a learning-rate scheduler, and warms the learning rate up.

    Warm-up multiplies the learning rate of a single step by ``(step + 1) / warmup_steps``, and
    restores it after the step. So it works with any scheduler.
    Source: Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.2.

    Args:
        lr_scheduler: a scheduler of torch, or None.
        optimizer: its parameter groups hold the learning rates.
        warmup_steps: the number of optimizer steps of warm-up; 0 for none.
        interval: ``epoch`` or ``step``; None chooses the interval for which the scheduler is made.

    Attributes:
        used_rates: the learning rates of the last step, if the optimizer has others by now.
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
        self.used_rates: list[Any] | None = None
        names = [kind.__name__ for kind in type(lr_scheduler).__mro__]  # subclasses count too
        self.plateaus, self.metric_name = _find_plateaus(lr_scheduler)
        self.follows_metric = bool(self.plateaus)
        is_per_step = any(name in STEPPED_PER_BATCH for name in names)
        self.interval = interval or ("step" if is_per_step else "epoch")
        if self.follows_metric and self.interval == "step":
            raise UserError(
                "ReduceLROnPlateau is stepped after an epoch, not after a step",
                key="trainer.lr_scheduler_interval",
            )

    def check_length(
        self, options: TrainerOptions, len_epoch: int | None, loader: Any = None
    ) -> str:
        """Checks that the warm-up and the scheduler fit the length of the run.

        Args:
            options: the options of the run.
            len_epoch: the number of batches in an epoch; None if unknown.
            loader: gives the batches; it decides whether ``len_epoch`` is an estimate.

        Returns:
            A warning if the scheduler is made for another length than the run's, else ``""``.

        Raises:
            UserError: the warm-up would be longer than the run, or the scheduler would fail in it.
        """
        if len_epoch is None:
            return ""
        steps = options.check_length(len_epoch)
        length, unit = options.epochs, "epochs"
        if self.interval == "step":
            length, unit = steps, "optimizer steps"
        name = type(self.lr_scheduler).__name__
        keys = ["T_max", "total_steps"]
        if isinstance(self.lr_scheduler, torch.optim.lr_scheduler.PolynomialLR):
            keys.append("total_iters")  # the rate is zero afterwards
        for key in keys:
            planned = getattr(self.lr_scheduler, key, length)
            if planned != length:
                text = f"{name} is set up for {key}={planned}, but the run has {length} {unit}"
                certain = length * min(1, (options.patience + 1) / options.epochs)
                if key == "total_steps" and certain > planned and has_exact_length(loader):
                    raise UserError(f"{text}, and it fails after {planned}", key="lr_scheduler")
                return text
        milestones = getattr(self.lr_scheduler, "milestones", None)
        if milestones and max(milestones) >= length:
            last = max(milestones)
            return f"{name} never reaches its last milestone, {last}: the run has {length} {unit}"
        return ""

    @contextlib.contextmanager
    def warming_up(self, step: int) -> Iterator[None]:
        """Scales the learning rates while the context lasts.

        Args:
            step: the number of the optimizer step, from 0.
        """
        factor = min(1.0, (step + 1) / max(1, self.warmup_steps))
        groups = self.optimizer.param_groups
        rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] = group["lr"] * factor
        self.used_rates = read_rates(self.optimizer)
        yield
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate

    def after_step(self, moved: torch.Tensor | bool = True) -> None:
        """Steps the scheduler if it moves after each optimizer step that moves the weights.

        Args:
            moved: whether the last one did; a tensor of fp16, for whose device this waits.
        """
        if self.lr_scheduler is not None and self.interval == "step" and moved:
            self._step()

    def after_epoch(self, log: dict[str, float], metric: str, mode: str = "") -> None:
        """Steps the scheduler if it moves after each epoch.

        Args:
            log: the epoch's numbers by name.
            metric: the name of the number that ReduceLROnPlateau follows.
            mode: the direction in which it is better, ``min`` or ``max``; empty if unknown.

        Raises:
            UserError: ReduceLROnPlateau follows a number that is not in ``log``.
        """
        if self.lr_scheduler is None or self.interval != "epoch":
            return
        if not self.follows_metric:
            self._step()
        elif metric in log:
            self._set_mode(mode)
            if self.metric_name:
                self._step(**{self.metric_name: log[metric]})
            else:
                self._step(log[metric])
        else:
            reason = f"but '{metric}' is not among {', '.join(log)}" if metric else "which is 'off'"
            raise UserError(
                f"ReduceLROnPlateau follows trainer.monitor, {reason}", key="lr_scheduler"
            )

    def _set_mode(self, mode: str) -> None:
        """Gives a ReduceLROnPlateau the direction of the number that it follows."""
        for plateau in self.plateaus:
            if mode in ("min", "max") and plateau.mode != mode:
                plateau.mode = mode
                plateau.mode_worse = math.inf if mode == "min" else -math.inf
                plateau.best = plateau.mode_worse

    def get_rates(self) -> list[float | None]:
        """Returns the learning rate of each group in the last step; before it, those to use."""
        rates = read_rates(self.optimizer) if self.used_rates is None else self.used_rates
        return [to_number(rate) for rate in rates]

    @property
    def first_rate(self) -> float | None:
        """The learning rate of the first group in the last step."""
        return self.get_rates()[0]

    def _step(self, *args: float, **kwargs: float) -> None:
        if self.used_rates is None:
            self.used_rates = read_rates(self.optimizer)
        try:
            self.lr_scheduler.step(*args, **kwargs)
        except (ValueError, ArithmeticError) as error:
            # OneCycleLR refuses more than its total_steps, StepLR in a list a period of 0.
            name = type(self.lr_scheduler).__name__
            raise UserError(f"{name}: {one_line(error)}", key="lr_scheduler") from None


def _find_plateaus(lr_scheduler: Any) -> tuple[list[Any], str]:
    """Finds ReduceLROnPlateau: the scheduler itself, or one that it holds, as warm-ups do.

    Returns:
        The schedulers that follow a number, and the parameter of ``step`` for it if it has a name.
        None if the scheduler holds one but its ``step`` takes no number.
    """
    if _is_plateau(lr_scheduler):
        return [lr_scheduler], ""
    held = [item for item in getattr(lr_scheduler, "__dict__", {}).values() if _is_plateau(item)]
    if held:
        taken = inspect.signature(lr_scheduler.step).parameters
        for name in METRIC_NAMES:
            if name in taken:
                return held, name
    return [], ""


def _is_plateau(scheduler: Any) -> bool:
    return "ReduceLROnPlateau" in [kind.__name__ for kind in type(scheduler).__mro__]


def read_rates(optimizer: Any) -> list[Any]:
    """Returns the learning rate of each parameter group; None where a group has none.

    A schedule changes a tensor in place, so a tensor is copied. Its number would wait for a device.
    """
    rates = [group.get("lr") for group in optimizer.param_groups]
    return [rate.clone() if isinstance(rate, torch.Tensor) else rate for rate in rates]


def to_number(rate: Any) -> float | None:
    """Returns a rate as a number, which waits for the device if it is a tensor."""
    return None if rate is None else float(rate)


def get_learning_rate(config: ConfigParser, index: int = 0) -> float | None:
    """The optimizer's learning rate: the config's, or the default of the optimizer class.

    Args:
        config: of the run.
        index: of the optimizer, if the config lists several.

    Returns:
        The learning rate; None if the optimizer takes no ``lr``.
    """
    lr = config.get_argument("optimizer", "lr", index)
    return float(lr) if isinstance(lr, int | float) else None


def make_lr_scheduler(config: ConfigParser, optimizer: torch.optim.Optimizer) -> Any:
    """Makes the config's ``lr_scheduler``.

    OneCycleLR and CyclicLR replace the optimizer's learning rates by ``max_lr`` and ``base_lr``.
    If the optimizer's groups have different rates, these two are scaled in proportion.

    Returns:
        The scheduler; None if the config has none.

    Raises:
        UserError: a period is 0, with which the first step would fail.
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
    scheduler = config.build("lr_scheduler", optimizer, changed_args=args)
    for key in PERIODS:
        value = getattr(scheduler, key, 1)
        if isinstance(value, int | float) and not value > 0:
            message = f"{value} must be above 0"
            raise UserError(message, key=f"lr_scheduler.args.{key}")
    return scheduler
