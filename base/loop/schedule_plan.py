"""Makes the scheduler of a config, and moves it to the position of a run that was resumed."""

from __future__ import annotations

import copy
import inspect
import logging
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ReferenceType, WeakKeyDictionary, ref

import torch
from torch.optim import Optimizer

from base.feature_options import RunLength
from base.loop.lr_schedule import choose_interval
from base.loop.progress import Progress
from base.loop.schedule_length import UNITS, ArgumentFiller, Part, format_length
from base.options import TrainerOptions
from config.check.schedules import PERIODS
from config.check.shapes import is_component
from config.check.slots import resolve
from utils.batch import num_batches
from utils.errors import UserError

if TYPE_CHECKING:
    from config import ConfigParser

HOLDER_NAMES = ("SequentialLR", "ChainedScheduler")
GROUP_KEYS = (  # what a scheduler keeps in the optimizer's groups
    *("lr", "initial_lr", "max_lr", "min_lr"),
    *("momentum", "betas", "max_momentum", "base_momentum"),
)


class Plan(NamedTuple):
    """A schedule whose length, or that of a part of it, is the run's.

    Attributes:
        scheduler: the outermost one.
        length: of the run.
        interval: ``epoch`` or ``step``.
        groups: what the scheduler has set in each of the optimizer's groups when it was made.
    """

    scheduler: ReferenceType[Any]
    length: RunLength
    interval: str
    groups: list[dict[str, Any]]

    def __str__(self) -> str:
        length = self.length.count_intervals(self.interval)
        return "unknown" if length is None else format_length(length, UNITS[self.interval])

    def count_moves(self, progress: Progress, accumulation_steps: int) -> int:
        """Returns how often the scheduler has moved at a position of a run of this length."""
        if self.interval == "epoch":
            return progress.epoch - 1
        if self.length.steps_per_epoch is None:
            return progress.step
        steps = (progress.epoch - 1) * self.length.steps_per_epoch
        return steps + math.ceil(progress.batch / accumulation_steps)  # saved between two windows


_plans: WeakKeyDictionary[Any, Plan] = WeakKeyDictionary()  # by optimizer


def get_plan(optimizer: Any) -> Plan | None:
    """Returns the plan of an optimizer's scheduler; None if the config gives all its lengths."""
    return _plans.get(optimizer) if isinstance(optimizer, Optimizer) else None


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


def make_lr_scheduler(config: ConfigParser, optimizer: Optimizer, loader: Any = None) -> Any:
    """Makes the config's ``lr_scheduler``, with the schedulers that it holds.

    Args:
        config: of the run.
        optimizer: its groups hold the learning rates.
        loader: gives the training batches; None if their number is unknown.

    Returns:
        The scheduler; None if the config has none.

    Raises:
        UserError: a period is 0, with which the first step would fail, or a length that is left
            out is unknown.
    """
    node = config.get("lr_scheduler")
    if not node:
        return None
    slot = config.get_schema().slots["lr_scheduler"]
    options = TrainerOptions.from_section(config["trainer"])
    len_epoch = dict.get(config["trainer"], "len_epoch")  # which does not count as a use of the key
    length = options.get_length(num_batches(loader) if len_epoch is None else len_epoch)
    interval = choose_interval(options.lr_scheduler_interval, _list_kinds(config, node))
    filler = ArgumentFiller(config, optimizer)
    part = Part(length.count_intervals(interval), UNITS[interval])
    filled = filler.fill(node, slot, ("lr_scheduler",), part)
    scheduler = config.build("lr_scheduler", optimizer, changed_args=filled["args"])
    for key in PERIODS:
        value = getattr(scheduler, key, 1)
        if isinstance(value, int | float) and not value > 0:
            message = f"{value} must be above 0"
            raise UserError(message, key=f"lr_scheduler.args.{key}")
    _plans.pop(optimizer, None)
    if filler.notes:
        logging.getLogger("train").info("lr_scheduler: %s.", "; ".join(filler.notes))
        groups = [
            {key: copy.deepcopy(group[key]) for key in GROUP_KEYS if key in group}
            for group in optimizer.param_groups
        ]
        _plans[optimizer] = Plan(ref(scheduler), length, interval, groups)
    return scheduler


def _list_kinds(config: ConfigParser, node: Any) -> Iterator[type]:
    """Yields the class of a scheduler, and those that a SequentialLR or ChainedScheduler holds."""
    found = resolve(node["type"], config.get_schema().slots["lr_scheduler"])
    if not inspect.isclass(found):
        return
    yield found
    if any(kind.__name__ in HOLDER_NAMES for kind in found.__mro__):
        for item in (node.get("args") or {}).get("schedulers") or ():
            if is_component(item):
                yield from _list_kinds(config, item)


def follow_run(optimizer: Any, progress: Progress, accumulation_steps: int) -> str:
    """Moves a new scheduler to the position of a run, if its length is the run's.

    Returns:
        A text that says so; empty if the config gives all lengths.
    """
    plan = get_plan(optimizer)
    scheduler = None if plan is None else plan.scheduler()
    if plan is None or scheduler is None:
        return ""
    before = optimizer.param_groups[0]["lr"]
    for group, values in zip(optimizer.param_groups, plan.groups, strict=True):
        for key, value in values.items():
            if isinstance(group.get(key), torch.Tensor):
                group[key].copy_(value)
            else:
                group[key] = value
    length = plan.length.count_intervals(plan.interval)
    moves = plan.count_moves(progress, accumulation_steps)
    moves = moves if length is None else min(moves, length)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch misses the steps of the optimizer
        for _ in range(moves):
            scheduler.step()
    after = optimizer.param_groups[0]["lr"]
    return (
        f"its length is that of the run, now {plan}, so the rate follows the curve of this length: "
        f"{float(after):.3g} instead of {float(before):.3g}"
    )
