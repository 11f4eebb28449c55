"""Decides which parameters are frozen in which epoch, from the options and the model only."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from base.loop.selection import get_first_names, select_parameters
from base.transfer.freezing import can_train, get_initially_frozen
from base.transfer.head import find_head
from base.transfer.options import Thaw, TransferOptions
from base.transfer.selection import get_layers
from utils.errors import UserError


@dataclass(frozen=True)
class FreezePlan:
    """Which parameters are frozen in which epoch.

    Attributes:
        frozen: the names of the parameters that ``transfer.freeze`` selects, and of those that the
            model's constructor has frozen.
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
    initial = get_initially_frozen(model)
    if options.freeze is None:
        return FreezePlan(set(), {})
    frozen = _select_frozen(model, options, initial) | initial
    plan = FreezePlan(frozen, _select_thawed(model, options, frozen, initial))
    if frozen and len(plan.frozen_at(1)) == len(list(model.parameters())):
        message = f"freezes all {len(frozen)} parameters: nothing is left to train"
        raise UserError(message, key="transfer.freeze")
    return plan


def _select_frozen(model: nn.Module, options: TransferOptions, initial: frozenset[str]) -> set[str]:
    """Returns the parameters to freeze. Layers that the constructor has frozen do not count."""
    freeze = options.freeze
    first_names = get_first_names(model)
    assert freeze is not None
    if isinstance(freeze, int):
        layers = [layer for layer in get_layers(model) if not initial.issuperset(layer)]
        if freeze >= len(layers):
            message = f"{freeze} freezes nothing: {type(model).__name__} has {len(layers)} layers"
            raise UserError(message, key="transfer.freeze")
        trained = {first_names[name] for layer in layers[-freeze:] for name in layer}
        return {first_names[name] for layer in layers[:-freeze] for name in layer} - trained
    if freeze == "all_but_head":
        head = find_head(model, None if options.head is None else options.head.name, initial)
        names = [name for name in first_names if name.startswith(f"{head}.")]
        return set(first_names.values()) - {first_names[name] for name in names}
    return select_parameters(model, freeze, "transfer.freeze")


def _select_thawed(
    model: nn.Module, options: TransferOptions, frozen: set[str], initial: frozenset[str]
) -> dict[str, Thaw]:
    """Returns the parameters that are trained later, each with its phase.

    A parameter that the constructor has frozen is thawed only by its own name, or by a pattern that
    matches no others. So the rest of a module can be thawed without its fixed position code.
    """
    thawed: dict[str, Thaw] = {}
    parameters, first_names = dict(model.named_parameters()), get_first_names(model)
    for index, phase in enumerate(options.thaw or []):
        key = f"transfer.thaw.{index}.params"
        names = select_parameters(model, phase.params, key) & frozen - thawed.keys()
        if not names:
            message = f"every parameter of {phase.params} is trained before this phase already"
            raise UserError(message, key=key)
        patterns = [phase.params] if isinstance(phase.params, str) else phase.params
        by_name = {first_names[pattern] for pattern in patterns if pattern in first_names}
        names = (names - (initial - by_name)) or names
        if not (trainable := {name for name in names if can_train(parameters[name])}):
            message = f"{', '.join(sorted(names))} cannot be trained: it holds integers"
            raise UserError(message, key=key)
        thawed |= dict.fromkeys(trainable, phase)
    return thawed
