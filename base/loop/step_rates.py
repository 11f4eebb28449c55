"""The learning rates that an optimizer used in its last step, for loops without an Update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from base.loop.lr_schedule import LRSchedule, read_rates, to_number

if TYPE_CHECKING:
    from base.loop.update import Update

_known: WeakKeyDictionary[Any, StepRates] = WeakKeyDictionary()


class StepRates:
    """The learning rates of the last step, which the loop may have changed since then."""

    def __init__(self, optimizer: Any) -> None:
        self._rates: list[Any] = []
        self._note(optimizer)
        if isinstance(optimizer, torch.optim.Optimizer):
            optimizer.register_step_pre_hook(self._note)

    def _note(self, optimizer: Any, *_: Any) -> None:
        self._rates = [] if optimizer is None else read_rates(optimizer)

    @property
    def first_rate(self) -> float | None:
        """The rate of the first parameter group; None without one."""
        return to_number(self._rates[0]) if self._rates else None


def get_step_rates(optimizer: Any, update: Update | None = None) -> StepRates | LRSchedule:
    """Returns the rates of a loop's ``update``, or else of its optimizer.

    For the same arguments, it returns the same object.
    """
    if update is not None:
        return update.schedule
    if not isinstance(optimizer, torch.optim.Optimizer):
        return StepRates(optimizer)  # a project's own: it has no hooks
    if optimizer not in _known:
        _known[optimizer] = StepRates(optimizer)
    return _known[optimizer]
