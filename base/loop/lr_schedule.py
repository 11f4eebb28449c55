"""When the learning rate changes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from config.build import build
from config.check.slots import SLOTS, Signature, resolve
from utils.errors import UserError, one_line

if TYPE_CHECKING:
    from config import ConfigParser

_NOTHING = contextlib.nullcontext()
_PER_STEP = ("OneCycleLR", "CyclicLR")


class Schedule:
    """When a learning-rate scheduler moves, and the warm-up in front of it.

    Warm-up scales the learning rate of single steps by ``(step + 1) / warmup_steps`` and gives it back, so that any
    scheduler goes on under it undisturbed. Source: Goyal et al. 2017, https://arxiv.org/abs/1706.02677, section 2.2.
    """

    def __init__(
        self,
        lr_scheduler: Any,
        optimizer: torch.optim.Optimizer,
        warmup_steps: int,
        interval: str | None,
    ) -> None:
        self.lr_scheduler, self.optimizer, self.warmup_steps = lr_scheduler, optimizer, warmup_steps
        self.factor = 1.0  # of the warm-up, at the last step
        self.lr: float | None = (
            None  # the first group's at the end of the last epoch, before the schedule moved
        )
        name = type(lr_scheduler).__name__
        self.on_plateau = name == "ReduceLROnPlateau"
        self.interval = interval or ("step" if name in _PER_STEP else "epoch")
        if self.on_plateau and self.interval == "step":
            raise UserError(
                "trainer.lr_scheduler_interval: ReduceLROnPlateau moves after an epoch, not a step"
            )

    def horizon(self, epochs: int, steps: int) -> str:
        """What is odd when the scheduler is laid out for another length than the run's; empty if nothing is.

        Args:
            epochs, steps: the run's length, in epochs and in optimizer steps.
        """
        length = steps if self.interval == "step" else epochs
        run = f"the run has {length} {'optimizer steps' if self.interval == 'step' else 'epochs'}"
        name = type(self.lr_scheduler).__name__
        for key in ("T_max", "total_steps"):
            planned = getattr(self.lr_scheduler, key, length)
            if planned != length:
                return f"{name} is laid out for {key}={planned}, and {run}"
        last = max(getattr(self.lr_scheduler, "milestones", None) or [0])
        return f"{name} never comes to its last milestone, {last}: {run}" if last >= length else ""

    def warm_up(self, step: int) -> contextlib.AbstractContextManager[None]:
        """Around optimizer step number ``step``, counted from 0."""
        self.factor = 1.0
        return _NOTHING if step >= self.warmup_steps else self._warming(step)

    @contextlib.contextmanager
    def _warming(self, step: int) -> Iterator[None]:
        self.factor = (step + 1) / self.warmup_steps
        rates = [group["lr"] for group in self.optimizer.param_groups]
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"] * self.factor
        yield
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def after_step(self) -> None:
        if self.lr_scheduler is not None and self.interval == "step":
            self._move()

    def _move(self, *args: float) -> None:
        try:
            self.lr_scheduler.step(*args)
        except ValueError as error:  # OneCycleLR past its total_steps
            raise UserError(
                f"lr_scheduler: {type(self.lr_scheduler).__name__}: {one_line(error)}"
            ) from None

    def after_epoch(self, log: dict[str, float], metric: str) -> None:
        """Moves an epoch-wise schedule; one on a plateau looks at ``log[metric]``. Raises UserError."""
        self.lr = float(self.optimizer.param_groups[0]["lr"])
        if self.lr_scheduler is None or self.interval != "epoch":
            return
        if not self.on_plateau:
            self._move()
        elif metric in log:
            self._move(log[metric])
        else:
            raise UserError(
                "lr_scheduler: ReduceLROnPlateau follows trainer.monitor, "
                + (f"but '{metric}' is not among {', '.join(log)}" if metric else "which is 'off'")
            )


def get_learning_rate(config: ConfigParser) -> float | None:
    """The learning rate that the config gives its optimizer, else the optimizer's default.

    Returns:
        The rate; None for an optimizer without an ``lr``.
    """
    section = config["optimizer"]
    args = section.get("args") or {}
    parameters = Signature.of(resolve(section["type"], SLOTS["optimizer"])).parameters
    default = parameters["lr"].default if "lr" in parameters else None
    lr = args.get("lr", default)
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
    node = {"type": section["type"], "args": args}
    return build(config.tree, node, SLOTS["lr_scheduler"], ("lr_scheduler",), optimizer)
