"""Which learning rate and weight decay each parameter gets: the optimizer's groups, from the ``transfer`` section."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from base.transfer.freezing import layers_of, select
from utils.errors import UserError

if TYPE_CHECKING:
    from base.transfer.options import ParamGroup, TransferOptions

Group = dict[str, Any]
Thawed = dict[
    str, tuple[int, float]
]  # names of parameters: from which epoch on, with which lr_scale


def make_groups(
    model: nn.Module, options: TransferOptions, thawed: Thawed, lr: float | None
) -> list[Group]:
    """The groups of all parameters that are trained at any time of the run, each in exactly one.

    Those that are thawed later stand in groups of their own from the start: without a gradient an optimizer neither
    moves them nor keeps a state for them, and every scheduler moves their learning rate with the others'.

    Args:
        model: with the frozen parameters frozen.
        options: param_groups, layer_decay, no_decay.
        thawed: what ``thawed_at`` gave.
        lr: the optimizer's own learning rate.

    Returns:
        Groups with ``params``, ``names``, ``epoch`` (from which they are trained) and, where they differ from the
        optimizer's own, ``lr`` and ``weight_decay``.

    Raises:
        UserError: a pattern matches nothing, two take the same parameter, or there is no learning rate to scale.
    """
    chosen = _chosen(model, options.param_groups or [])
    scales = _layer_scales(model, options.layer_decay)
    groups: dict[tuple[Any, ...], Group] = {}
    for name, parameter in model.named_parameters():
        epoch, phase_scale = thawed.get(name, (1, 1.0))
        if not parameter.requires_grad and name not in thawed:
            continue
        own = chosen.get(name)
        values: Group = {}
        scale = phase_scale * (own.lr_scale if own and own.lr_scale is not None else 1.0)
        if own is not None and own.lr is not None:
            values["lr"] = own.lr * scale
        elif (scale := scale * scales.get(name, 1.0)) != 1.0:
            if lr is None:
                raise UserError("optimizer: has no learning rate 'lr' to scale")
            values["lr"] = lr * scale
        if own is not None and own.weight_decay is not None:
            values["weight_decay"] = own.weight_decay
        elif options.no_decay == "norm_and_bias" and parameter.ndim <= 1:
            values["weight_decay"] = 0.0
        new: dict[str, Any] = {"params": [], "names": [], "epoch": epoch} | values
        group = groups.setdefault((epoch, *sorted(values.items())), new)
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def thawed_at(model: nn.Module, options: TransferOptions, frozen: set[str]) -> Thawed:
    """The parameters ``frozen`` first that are trained later. Raises UserError for a phase that thaws nothing."""
    thawed: Thawed = {}
    for index, phase in enumerate(options.thaw or []):
        names = select(model, phase.params, f"transfer.thaw.{index}.params")
        if not (new := names & frozen - thawed.keys()):
            raise UserError(
                f"transfer.thaw.{index}.params: all of {phase.params} is trained already by then"
            )
        thawed |= dict.fromkeys(new, (phase.epoch, phase.lr_scale))
    return thawed


def _chosen(model: nn.Module, entries: Sequence[ParamGroup]) -> dict[str, ParamGroup]:
    chosen: dict[str, ParamGroup] = {}
    for index, entry in enumerate(entries):
        names = select(model, entry.params, f"transfer.param_groups.{index}.params")
        if both := sorted(names & chosen.keys()):
            other = next(i for i, entry in enumerate(entries) if entry is chosen[both[0]])
            raise UserError(
                f"transfer.param_groups.{index}.params: takes '{both[0]}', which group {other} has already"
            )
        chosen |= dict.fromkeys(names, entry)
    return chosen


def _layer_scales(model: nn.Module, decay: float | None) -> dict[str, float]:
    """Source: layer-wise decay, Clark et al. 2020, https://arxiv.org/abs/2003.10555, appendix A."""
    if decay is None:
        return {}
    layers = layers_of(model)
    return {
        name: decay ** (len(layers) - 1 - index)
        for index, names in enumerate(layers)
        for name in names
    }


def table_of(groups: list[Group], lr: float | None) -> str:
    """The groups as a table."""
    rows = [("parameters", "tensors", "lr", "weight decay", "from epoch", "which")]
    for group in groups:
        names, which = group["names"], group["names"][0]
        which += f" … {names[-1]}" if len(names) > 1 else ""
        size = sum(parameter.numel() for parameter in group["params"])
        rate, decay = group.get("lr", lr), group.get("weight_decay")
        numbers = (f"{size:,}", str(len(names)), "own" if rate is None else f"{rate:.3g}")
        rows.append(
            (*numbers, "own" if decay is None else f"{decay:g}", str(group["epoch"]), which)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=False))
        for row in rows
    ]
    return "\n".join(f"  {line}  {row[-1]}" for line, row in zip(lines, rows, strict=True))
