"""The optimizer's parameter groups: which learning rate and weight decay each parameter gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from base.loop.selection import select_parameters
from base.transfer.options import ParamGroup, TransferOptions
from base.transfer.plan import FreezePlan
from base.transfer.selection import get_layers
from utils.errors import UserError


@dataclass
class Group:
    """Parameters with the same learning rate and weight decay that are trained from one epoch on.

    Attributes:
        epoch: the first epoch in which they are trained.
        values: ``lr`` and ``weight_decay``, each where it differs from the optimizer's.
        names: of the parameters.
        params: the parameters themselves.
    """

    epoch: int
    values: dict[str, float]
    names: list[str] = field(default_factory=list)
    params: list[nn.Parameter] = field(default_factory=list)


def make_groups(
    model: nn.Module, options: TransferOptions, plan: FreezePlan, lr: float | None
) -> list[Group]:
    """Sorts the parameters that are trained at any time of the run into groups.

    Parameters that are thawed later have separate groups from the start. Without a gradient, an
    optimizer neither moves them nor keeps a state for them. Every scheduler scales their learning
    rate as it scales the others.

    Args:
        model: with its frozen parameters frozen.
        options: param_groups, layer_decay and no_decay.
        plan: of the model.
        lr: the optimizer's learning rate; None if it has none.

    Raises:
        UserError: a pattern matches nothing, two groups select the same parameter, or there is no
            learning rate to scale.
    """
    entries = options.param_groups or []
    selected = _select_entries(model, entries)
    layer_scales = _get_layer_scales(model, options.layer_decay)
    groups: dict[tuple[Any, ...], Group] = {}
    for name, parameter in model.named_parameters():
        phase = plan.thawed.get(name)
        if phase is None and not parameter.requires_grad:
            continue
        entry = entries[selected[name]] if name in selected else None
        scale = 1.0 if phase is None else phase.lr_scale
        values: dict[str, float] = {}
        if entry is not None and entry.lr is not None:
            values["lr"] = entry.lr * scale
        else:
            if entry is not None and entry.lr_scale is not None:
                scale *= entry.lr_scale
            scale *= layer_scales.get(name, 1.0)
            if scale != 1.0:
                values["lr"] = _scale_lr(lr, scale)
        if entry is not None and entry.weight_decay is not None:
            values["weight_decay"] = entry.weight_decay
        elif options.no_decay == "norm_and_bias" and parameter.ndim <= 1:
            values["weight_decay"] = 0.0
        epoch = 1 if phase is None else phase.epoch
        group = groups.setdefault((epoch, *sorted(values.items())), Group(epoch, values))
        group.names.append(name)
        group.params.append(parameter)
    names = [name for group in groups.values() for name in group.names]
    _check_used(entries, {selected[name] for name in names if name in selected})
    return list(groups.values())


def restrict(groups: list[Group], names: set[str]) -> list[Group]:
    """Returns the groups with only the named parameters, for one of several optimizers."""
    restricted = []
    for group in groups:
        pairs = [pair for pair in zip(group.names, group.params, strict=True) if pair[0] in names]
        if pairs:
            kept, params = zip(*pairs, strict=True)
            restricted.append(Group(group.epoch, group.values, list(kept), list(params)))
    return restricted


def _check_used(entries: Sequence[ParamGroup], used: set[int]) -> None:
    """Raises UserError if an entry of ``param_groups`` selects only frozen parameters."""
    for index, entry in enumerate(entries):
        if index not in used:
            message = f"has no effect: every parameter of {entry.params} is frozen"
            raise UserError(message, key=_params_key(index))


def _scale_lr(lr: float | None, scale: float) -> float:
    if lr is None:
        raise UserError("has no learning rate 'lr' to scale", key="optimizer")
    return lr * scale


def _params_key(index: int) -> str:
    return f"transfer.param_groups.{index}.params"


def _select_entries(model: nn.Module, entries: Sequence[ParamGroup]) -> dict[str, int]:
    """Maps each parameter that ``param_groups`` selects to the index of its entry.

    Raises:
        UserError: a pattern matches nothing, or two entries select the same parameter.
    """
    selected: dict[str, int] = {}
    for index, entry in enumerate(entries):
        key = _params_key(index)
        names = select_parameters(model, entry.params, key)
        if twice := sorted(names & selected.keys()):
            message = f"selects '{twice[0]}', which group {selected[twice[0]]} has already"
            raise UserError(message, key=key)
        selected |= dict.fromkeys(names, index)
    return selected


def _get_layer_scales(model: nn.Module, decay: float | None) -> dict[str, float]:
    """Returns the factor on each parameter's learning rate; empty without layer decay.

    Source: layer-wise decay, Clark et al. 2020, https://arxiv.org/abs/2003.10555, appendix A.
    """
    if decay is None:
        return {}
    layers = get_layers(model)
    return {
        name: decay ** (len(layers) - 1 - index)
        for index, names in enumerate(layers)
        for name in names
    }


def format_groups(groups: list[Group], lr: float | None) -> str:
    """Formats the groups as a table.

    Args:
        groups: the rows.
        lr: the optimizer's learning rate; None if it has none.
    """
    rows = [("parameters", "tensors", "lr", "weight decay", "from epoch", "names")]
    for group in groups:
        count = sum(parameter.numel() for parameter in group.params)
        rate = group.values.get("lr", lr)
        decay = group.values.get("weight_decay")
        first, last = group.names[0], group.names[-1]
        rows.append(
            (
                f"{count:,}",
                str(len(group.names)),
                "default" if rate is None else f"{rate:.3g}",
                "default" if decay is None else f"{decay:g}",
                str(group.epoch),
                first if first == last else f"{first} … {last}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    lines = []
    for *numbers, names in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(numbers, widths, strict=True)]
        lines.append("  " + "  ".join([*cells, names]))
    return "\n".join(lines)
