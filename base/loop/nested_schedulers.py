"""torch's schedulers that hold others, changed so that they can hold each other.

A SequentialLR starts the schedulers that it holds in two ways: the first one by
``_initial_step()``, and each later one by ``_update_lr(0)``. torch's SequentialLR and
ChainedScheduler have no such methods of their own, so inside of a SequentialLR they begin with a
wrong rate, or fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim import lr_scheduler as schedulers

from base.loop.lr_schedule import is_holder, read_rates, walk_schedulers

__all__ = ["ChainedScheduler", "SequentialLR"]


class SequentialLR(schedulers.SequentialLR):
    """Runs schedulers one after another; each begins with its first rate.

    Source: torch.optim.lr_scheduler.SequentialLR.

    Args:
        optimizer (Optimizer): its parameter groups hold the learning rates.
        schedulers (list): those to run, in this order.
        milestones (list): the epochs, or the steps, at which the second and each later one begins.
        last_epoch (int): the index of the last epoch; -1 starts anew.
    """

    def _initial_step(self) -> None:
        """Starts as the first scheduler of another SequentialLR."""
        self._step_count = 0
        self._update_lr(0)

    def _update_lr(self, epoch: int | None = None) -> None:
        """Starts at a milestone of another SequentialLR."""
        self.last_epoch = 0
        start(self.optimizer, self._schedulers[:1])
        self._last_lr = self._schedulers[0].get_last_lr()


class ChainedScheduler(schedulers.ChainedScheduler):
    """Runs schedulers at the same time; the rate is the initial one times the factors of all.

    Source: torch.optim.lr_scheduler.ChainedScheduler.

    A SequentialLR sets a rate when one of its schedulers begins, which would remove the factors of
    the others. So with one among them, each has rates of its own.

    Args:
        schedulers (list): those to run, in this order.
        optimizer (Optimizer): its parameter groups hold the learning rates.
    """

    def __init__(
        self, schedulers: Sequence[schedulers.LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        super().__init__(schedulers, optimizer)
        self._rates: list[list[Any]] = []  # of each scheduler, in each group
        if self._has_sequence():  # it has set the rates to the initial ones
            self._initial_step()

    def _has_sequence(self) -> bool:
        held = chain.from_iterable(map(walk_schedulers, self._schedulers))
        return any(isinstance(scheduler, schedulers.SequentialLR) for scheduler in held)

    def _initial_step(self) -> None:
        """Starts as the first scheduler of a SequentialLR."""
        self._update_lr(0)

    def _update_lr(self, epoch: int | None = None) -> None:
        """Starts at a milestone of a SequentialLR."""
        if not self._has_sequence():
            start(self.optimizer, self._schedulers)
        else:
            self._rates = []
            for scheduler in self._schedulers:
                start(self.optimizer, [scheduler])
                self._rates.append(read_rates(self.optimizer))
            self._multiply()
        self._last_lr = read_rates(self.optimizer)

    def step(self) -> None:  # type: ignore[override]
        """Moves all schedulers."""
        if not self._rates:
            super().step()
            return
        for index, scheduler in enumerate(self._schedulers):
            set_rates(self.optimizer, self._rates[index])
            scheduler.step()
            self._rates[index] = read_rates(self.optimizer)
        self._multiply()
        self._last_lr = read_rates(self.optimizer)

    def _multiply(self) -> None:
        """Sets the product of the schedulers' factors, each the quotient of two rates."""
        rates = [group["initial_lr"] for group in self.optimizer.param_groups]
        for index, initial in enumerate(list(rates)):
            for of_scheduler in self._rates:
                is_zero = isinstance(initial, float) and initial == 0
                rates[index] = rates[index] * (1.0 if is_zero else of_scheduler[index] / initial)
        set_rates(self.optimizer, rates)


def start(optimizer: Optimizer, held: Sequence[Any]) -> None:
    """Starts schedulers from the initial learning rates, as their constructors do."""
    set_rates(optimizer, [group["initial_lr"] for group in optimizer.param_groups])
    for scheduler in held:
        if not is_holder(scheduler):
            scheduler.last_epoch = -1
        scheduler._initial_step()


def set_rates(optimizer: Optimizer, rates: Sequence[Any]) -> None:
    """Sets the learning rate of each group; one that is a tensor stays the same tensor."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
