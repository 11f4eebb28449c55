"""The loss of a config: a weighted sum, and a check of shapes that torch lacks."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from base.loop.evaluate import add_up
from config.check.checker import get_name
from utils.errors import UserError

# These losses of torch take an output (N, 1) and a target (N,) for a pair of (N, N), in silence.
BROADCASTING = (
    *("poisson_nll_loss", "PoissonNLLLoss", "kl_div", "KLDivLoss"),
    *("hinge_embedding_loss", "HingeEmbeddingLoss", "soft_margin_loss", "SoftMarginLoss"),
    *("multilabel_soft_margin_loss", "MultiLabelSoftMarginLoss"),
)


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


def check_shapes(loss: Any) -> Any:
    """Returns a loss that refuses an output and a target of different shapes, where torch does not.

    Most losses of torch warn of this or refuse it, and are returned as they are.
    """
    function = loss.func if isinstance(loss, functools.partial) else loss
    name = getattr(function, "__name__", type(function).__name__)
    if name not in BROADCASTING:
        return loss

    def compare(output: Any, target: Any) -> None:
        if output.shape != target.shape:
            shapes = f"{tuple(output.shape)} and a target {tuple(target.shape)}"
            advice = "reshape one of them, for example by target.view_as(output)"
            message = f"{name} got an output {shapes}, which must be the same; {advice}"
            raise UserError(message, key="loss")

    if isinstance(loss, nn.Module):
        loss.register_forward_pre_hook(lambda _, arguments: compare(*arguments))
        return loss

    @functools.wraps(loss)
    def checked(output: Any, target: Any) -> Any:
        compare(output, target)
        return loss(output, target)

    return checked
