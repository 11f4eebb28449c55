"""The learning-rate schedule: when the scheduler is stepped, and the warm-up."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler, SequentialLR

from base.data.loader import has_exact_length
from utils.errors import UserError, one_line

if TYPE_CHECKING:
    from base.options import TrainerOptions

STEPPED_PER_BATCH = ("OneCycleLR", "CyclicLR")
METRIC_NAMES = ("metrics", "metric")  # of the parameter of `step`


class LRSchedule:
    """Steps a learning-rate scheduler, and warms the learning rate up.

    Warm-up multiplies the learning rate of a single step by a factor that rises linearly to 1, by
    default ``(step + 1) / warmup_steps``, and restores the rate after the step. So it works with
    any scheduler, which moves meanwhile.
    Source: Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.2.

    Args:
        lr_scheduler: a scheduler of torch, or None.
        optimizer: its parameter groups hold the learning rates.
        warmup_steps: the number of optimizer steps of warm-up; 0 for none.
        interval: ``epoch`` or ``step``; None chooses the interval for which the scheduler is made.
        warmup_from: the factor of the first step of the warm-up; None means 1 / ``warmup_steps``.

    Attributes:
        used_rates: the learning rates of the last step, if the optimizer has others by now.
    """

    def __init__(
        self,
        lr_scheduler: Any,
        optimizer: torch.optim.Optimizer,
        warmup_steps: int = 0,
        interval: str | None = None,
        warmup_from: float | None = None,
    ) -> None:
        self.lr_scheduler, self.optimizer = lr_scheduler, optimizer
        self.warmup_steps, self.warmup_from = warmup_steps, warmup_from
        self.used_rates: list[Any] | None = None
        self.plateaus, self.metric_name = _find_plateaus(lr_scheduler)
        self.follows_metric = bool(self.plateaus)
        self.interval = choose_interval(interval, map(type, walk_schedulers(lr_scheduler)))
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
        from base.loop.schedule_length import find_mismatches

        options.check_length(len_epoch)
        is_exact = has_exact_length(loader)
        conflicts = self._find_mode_conflicts(options.monitor)
        found = find_mismatches(self.lr_scheduler, self.interval, options, len_epoch, is_exact)
        return "; ".join([*conflicts, *found])

    @contextlib.contextmanager
    def warming_up(self, step: int) -> Iterator[None]:
        """Scales the learning rates while the context lasts.

        Args:
            step: the number of the optimizer step, from 0.
        """
        factor = self._get_warmup_factor(step)
        groups = self.optimizer.param_groups
        rates = [group["lr"] for group in groups]
        for group in groups:
            group["lr"] = group["lr"] * factor
        self.used_rates = read_rates(self.optimizer)
        yield
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate

    def _get_warmup_factor(self, step: int) -> float:
        if self.warmup_from is None:
            return min(1.0, (step + 1) / max(1, self.warmup_steps))
        progress = step / max(1, self.warmup_steps - 1)
        return min(1.0, self.warmup_from + (1.0 - self.warmup_from) * progress)

    def after_step(self, moved: torch.Tensor | bool = True) -> None:
        """Steps the scheduler if it moves after each optimizer step that moves the weights.

        Args:
            moved: whether the last one did; a tensor of fp16, for whose device this waits.
        """
        if self.lr_scheduler is not None and self.interval == "step" and moved:
            self._step()

    def after_validation(self, log: dict[str, float], metric: str, mode: str = "") -> None:
        """Steps a ReduceLROnPlateau after a validation inside an epoch; see ``after_epoch``."""
        if self.follows_metric:
            self.after_epoch(log, metric, mode)

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

    def _find_mode_conflicts(self, monitor: str) -> Iterator[str]:
        """Yields a warning for each ReduceLROnPlateau that code has given another direction.

        ``min`` is torch's default, so it counts only if another scheduler holds this one.
        """
        mode = monitor.partition(" ")[0]
        for plateau in self.plateaus:
            is_chosen = plateau is not self.lr_scheduler or plateau.mode == "max"
            if mode in ("min", "max") and plateau.mode != mode and is_chosen:
                name = type(plateau).__name__
                yield (
                    f"{name} has the mode '{plateau.mode}', but trainer.monitor is '{monitor}': "
                    f"it uses '{mode}'"
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


def choose_interval(interval: str | None, kinds: Iterable[Any]) -> str:
    """Returns ``epoch`` or ``step``.

    Args:
        interval: the choice of the config, or None.
        kinds: the class of the scheduler, and of those that a SequentialLR or a ChainedScheduler
            holds. Subclasses of ``STEPPED_PER_BATCH`` count too.
    """
    if interval is not None:
        return interval
    names = {base.__name__ for kind in kinds for base in inspect.getmro(kind)}
    return "epoch" if names.isdisjoint(STEPPED_PER_BATCH) else "step"


def is_holder(scheduler: Any) -> bool:
    """Whether a scheduler is torch's SequentialLR or ChainedScheduler."""
    return isinstance(scheduler, SequentialLR | ChainedScheduler)


def walk_schedulers(scheduler: Any) -> Iterator[Any]:
    """Yields a scheduler, and those that a SequentialLR or a ChainedScheduler holds."""
    yield scheduler
    if is_holder(scheduler):
        for _, held in list_schedulers(vars(scheduler)):
            yield from walk_schedulers(held)


def list_schedulers(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Lists the schedulers among ``values`` and in their lists and dicts, each with its name.

    Args:
        values: the attributes of another scheduler, or its state.
    """
    found = []
    for name, value in values.items():
        pairs: Iterable[tuple[str, Any]] = [(name, value)]
        if isinstance(value, list | tuple):
            pairs = [(f"{name}.{index}", item) for index, item in enumerate(value)]
        elif isinstance(value, dict):
            pairs = [(f"{name}.{key}", item) for key, item in value.items()]
        found += [(key, item) for key, item in pairs if _is_scheduler(item)]
    return found


def _is_scheduler(item: Any) -> bool:
    return isinstance(item, LRScheduler) or _is_plateau(item)


def _find_plateaus(lr_scheduler: Any) -> tuple[list[Any], str]:
    """Finds ReduceLROnPlateau: the scheduler itself, or one that it holds, as warm-ups do.

    Returns:
        The schedulers that follow a number, and the parameter of ``step`` for it if it has a name.
        None if the scheduler holds one but its ``step`` takes no number.
    """
    if _is_plateau(lr_scheduler):
        return [lr_scheduler], ""
    held = _find_held_plateaus(lr_scheduler, set())
    if held:
        taken = inspect.signature(lr_scheduler.step).parameters
        for name in METRIC_NAMES:
            if name in taken:
                return held, name
    return [], ""


def _find_held_plateaus(scheduler: Any, seen: set[int]) -> list[Any]:
    found = []
    for _, held in list_schedulers(getattr(scheduler, "__dict__", {})):
        if id(held) not in seen:
            seen.add(id(held))
            found += [held] if _is_plateau(held) else _find_held_plateaus(held, seen)
    return found


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
