"""The loss of a config that lists several losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from base.loop.evaluate import add_up
from config.check.checker import get_name


class WeightedSum(nn.Module):
    """The loss ``sum(weight * term(output, target))``.

    The parameters of its terms are trained, saved and restored like those of any loss.

    Args:
        section: of the config: for each term, its name or ``{type, args, weight, name}``.
        losses: the loss of each term.
    """

    def __init__(self, section: Sequence[Any], losses: Sequence[Any]) -> None:
        super().__init__()
        names = [get_name(node) for node in section]
        weights = [node.get("weight", 1.0) if isinstance(node, dict) else 1.0 for node in section]
        self.losses = dict(zip(names, losses, strict=True))
        self.weights = dict(zip(names, weights, strict=True))
        self.inner = nn.ModuleList(loss for loss in losses if isinstance(loss, nn.Module))

    def forward(self, output: Any, target: Any) -> torch.Tensor:
        values = {name: loss(output, target) for name, loss in self.losses.items()}
        total: torch.Tensor = add_up(values, self.weights)
        return total
