"""Weights to start from: read safely from a file of any of the usual kinds, fitted by name and shape, and reported."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from base.checkpoint.file import has_ema, load, weights_of
from base.transfer.freezing import some
from utils.checkpoints import find_checkpoint
from utils.errors import UserError, one_line

Weights = dict[str, torch.Tensor]

NESTED = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "params",
)  # where others keep them in a checkpoint


def read_weights(source: str, use_ema: bool = False) -> tuple[Weights, str]:
    """The tensors in a run (its best), a checkpoint, a state dict (``.pt``, ``.pth``) or a ``.safetensors`` file.

    Returns:
        The tensors by name, and in words what they are.

    Raises:
        UserError: missing, damaged, holding anything but tensors and plain values, or without EMA weights.
    """
    path = find_checkpoint(source, best_first=True)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state: dict[str, Any] = load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: no safetensors file, or damaged: {one_line(error)}") from None
    else:
        state = load(path)
    if use_ema and not has_ema(state):
        raise UserError(f"{path}: holds no EMA weights; take init_ema away")
    weights, kind = weights_of(state, use_ema)
    for key in NESTED:
        weights = (
            weights[key]
            if isinstance(weights, dict) and isinstance(weights.get(key), dict)
            else weights
        )
    named = weights.items() if isinstance(weights, dict) else ()
    tensors = {str(name): value for name, value in named if isinstance(value, torch.Tensor)}
    if not tensors:
        raise UserError(f"{path}: holds no tensors by name")
    return tensors, f"the {kind} of {path}"


@dataclass(frozen=True)
class Fit:
    """How weights fit a model: the tensors that do, by the model's names, and the names of those that do not."""

    matched: Weights
    missing: list[str]
    unused: list[str]
    other_shape: list[str]
    total: int

    @property
    def share(self) -> float:
        """Of the model's tensors, how many were matched."""
        return len(self.matched) / max(self.total, 1)

    def __str__(self) -> str:
        rows = {"missing": self.missing, "unused": self.unused, "another shape": self.other_shape}
        lines = [f"  {'matched':<14}{len(self.matched)} of {self.total} tensors"]
        for name, names in rows.items():
            lines.append(f"  {name:<14}{len(names)}" + (f": {some(names)}" if names else ""))
        return "\n".join(lines)


def rename(weights: Weights, patterns: dict[str, str]) -> Weights:
    """The weights under new names: of ``{"backbone.*": "features.*"}`` each ``*`` takes over what it matched.

    Raises:
        UserError: a pattern matches no name, wants more stars than it has, or gives a name twice.
    """
    renamed = dict(weights)
    for pattern, target in patterns.items():
        regex = re.compile("(.*)".join(map(re.escape, pattern.split("*"))))
        parts = target.split("*")
        if len(parts) - 1 > pattern.count("*"):
            raise UserError(
                f"transfer.rename.{pattern}: '{target}' has more stars than '{pattern}'"
            )
        matches = {name: match for name in renamed if (match := regex.fullmatch(name))}
        if not matches:
            raise UserError(
                f"transfer.rename.{pattern}: matches none of the names, as {', '.join(list(weights)[:3])}"
            )
        new = {}
        for name, value in renamed.items():
            if name in matches:
                groups = [*matches[name].groups()[: len(parts) - 1], ""]
                name = "".join(part + group for part, group in zip(parts, groups, strict=True))
            if name in new:
                raise UserError(f"transfer.rename.{pattern}: gives the name '{name}' twice")
            new[name] = value
        renamed = new
    return renamed


def fit(model: nn.Module, weights: Weights) -> Fit:
    """Finds the tensors that fit ``model`` by name and shape, behind the prefix under which most of them do.

    Wrappers put one before the names (``module.``, ``model.``, ``backbone.``), here or there.
    """
    own = {
        name: value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)
    }

    def under(there: str, here: str) -> Weights:
        return {
            here + name.removeprefix(there): value
            for name, value in weights.items()
            if name.startswith(there)
        }

    def score(named: Weights) -> tuple[int, int]:
        both = own.keys() & named.keys()
        return sum(own[name].shape == named[name].shape for name in both), len(both)

    options = [
        ("", ""),
        *((prefix, "") for prefix in prefixes(weights)),
        *(("", prefix) for prefix in prefixes(own)),
    ]
    there, here = max(
        options, key=lambda option: score(under(*option))
    )  # the first of equals: without a change
    named = under(there, here)
    matched = {
        name: value
        for name, value in named.items()
        if name in own and own[name].shape == value.shape
    }
    unlike = [name for name in own if name in named and name not in matched]
    other = [f"{name} {tuple(named[name].shape)} for {tuple(own[name].shape)}" for name in unlike]
    unused = [
        name
        for name in weights
        if not name.startswith(there) or here + name.removeprefix(there) not in own
    ]
    return Fit(matched, [name for name in own if name not in named], unused, other, len(own))


def prefixes(names: Any) -> list[str]:
    """The first one and two parts of dotted names, each with its dot."""
    parts = [name.split(".") for name in names]
    return list(
        dict.fromkeys(".".join(part[:n]) + "." for part in parts for n in (1, 2) if len(part) > n)
    )
