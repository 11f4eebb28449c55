"""Decides which parameters are frozen in which epoch, from the options and the model only."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from base.transfer.head import find_head
from base.transfer.options import Thaw, TransferOptions
from base.transfer.selection import get_layers, select_parameters
from utils.errors import UserError


@dataclass(frozen=True)
class FreezePlan:
    """Which parameters are frozen in which epoch.

    Attributes:
        frozen: the names of the parameters that ``transfer.freeze`` selects.
        thawed: of those, the ones that are trained later, each with its phase.
    """

    frozen: set[str]
    thawed: dict[str, Thaw]

    def frozen_at(self, epoch: int) -> set[str]:
        """Returns the names of the parameters that are frozen in ``epoch``."""
        return self.frozen - {name for name, phase in self.thawed.items() if phase.epoch <= epoch}

    def first_epochs(self) -> list[int]:
        """Returns the first epoch of every phase, in order; the first phase begins with epoch 1."""
        return sorted({1, *(phase.epoch for phase in self.thawed.values())})


def make_plan(model: nn.Module, options: TransferOptions) -> FreezePlan:
    """Finds the parameters that ``freeze`` and ``thaw`` select.

    Freezing, wrapping and sharding a model do not change names or sizes. So the plan may be made
    at any time after the head was replaced.

    Raises:
        UserError: a pattern matches nothing, a phase thaws nothing, or nothing is left to train.
    """
    frozen = _select_frozen(model, options)
    plan = FreezePlan(frozen, _select_thawed(model, options, frozen))
    if frozen and len(plan.frozen_at(1)) == len(list(model.parameters())):
        message = f"freezes all {len(frozen)} parameters: nothing is left to train"
        raise UserError(message, key="transfer.freeze")
    return plan


def _select_frozen(model: nn.Module, options: TransferOptions) -> set[str]:
    freeze = options.freeze
    if freeze is None:
        return set()
    if isinstance(freeze, int):
        layers = get_layers(model)
        if freeze >= len(layers):
            message = f"{freeze} freezes nothing: {type(model).__name__} has {len(layers)} layers"
            raise UserError(message, key="transfer.freeze")
        return {name for layer in layers[:-freeze] for name in layer}
    if freeze == "all_but_head":
        head = find_head(model, None if options.head is None else options.head.name)
        return {name for name, _ in model.named_parameters() if not name.startswith(f"{head}.")}
    return select_parameters(model, freeze, "transfer.freeze")


def _select_thawed(model: nn.Module, options: TransferOptions, frozen: set[str]) -> dict[str, Thaw]:
    thawed: dict[str, Thaw] = {}
    for index, phase in enumerate(options.thaw or []):
        key = f"transfer.thaw.{index}.params"
        names = select_parameters(model, phase.params, key) & frozen - thawed.keys()
        if not names:
            message = f"every parameter of {phase.params} is trained before this phase already"
            raise UserError(message, key=key)
        thawed |= dict.fromkeys(names, phase)
    return thawed
