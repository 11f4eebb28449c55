"""The loss of a config: a weighted sum, the model's own, and a check of shapes."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from base.loop.evaluate import add_up, find_predictions, mark_computes_loss
from base.loop.metrics import LOSSES_ONLY
from config.check.checker import get_name
from utils.batch import as_plain
from utils.errors import UserError

# These losses of torch broadcast an output (N, 1) and a target (N,) to (N, N) without a warning.
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
        from base.loop.targets import IGNORE_INDEX, find_ignore_index

        indices = [index for index in map(find_ignore_index, losses) if index is not None]
        given = [index for index in indices if index != IGNORE_INDEX]
        self.ignore_index = next(iter(given or indices), None)

    def forward(self, output: Any, target: Any) -> torch.Tensor:
        values = {name: loss(output, target) for name, loss in self.losses.items()}
        total: torch.Tensor = add_up(values, self.weights)
        return total


class ModelLoss(nn.Module):
    """The loss that the model computes itself, in a config without ``loss``.

    The model gets the batch with the target, as HuggingFace's and torchvision's detection models
    want it. In eval mode it may return predictions without a loss.

    Args:
        model: is marked, so that ``forward`` passes the target.
        unwrapped: the model inside a wrapper; the same model if there is none.
    """

    def __init__(self, model: nn.Module, unwrapped: nn.Module) -> None:
        super().__init__()
        from base.loop.targets import shifts_labels

        for module in (model, unwrapped):
            mark_computes_loss(module, True)
        self.shifts_labels = shifts_labels(unwrapped)
        if hasattr(unwrapped, "count_targets"):  # as a loss may have it
            self.count_targets = unwrapped.count_targets

    def forward(self, output: Any, target: Any) -> Any:
        """Returns the output's ``loss``, or a dict of losses; None for predictions only.

        Raises:
            UserError: the model is in training and gave no loss.
        """
        if isinstance(output, torch.Tensor) and output.ndim == 0:
            return output
        if is_of_losses(output):
            return output
        loss = find_loss(output)
        if loss is not None:
            return loss
        if self.training:
            message = f"the config has none, and the model returned a {type(output).__name__}"
            advice = "add a loss, or let the model return one, a dict of losses, or a `loss` in it"
            raise UserError(f"{message} without one; {advice}", key="loss")
        return None


def find_loss(output: Any) -> Any:
    """The ``loss`` in a model's output; None if there is none."""
    return output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)


def is_of_losses(output: Any) -> bool:
    """Whether a model's output is a dict of losses, as of torchvision's detectors in training."""
    return (
        isinstance(output, dict)
        and "loss" not in output
        and bool(output)
        and all(isinstance(value, torch.Tensor) and value.ndim == 0 for value in output.values())
    )


def take_out_predictions(output: Any) -> Any:
    """The predictions in the output of a model that computes its loss, or ``LOSSES_ONLY``.

    Other outputs are returned as they are.
    """
    if is_of_losses(output):
        return LOSSES_ONLY
    return output if find_loss(output) is None else find_predictions(output)


def get_metric_arguments(output: Any, target: Any) -> tuple[Any, Any]:
    """The arguments of the metrics: plain predictions, and their targets."""
    from base.loop.targets import align_labels

    output, target = align_labels(output, target)
    return as_plain(take_out_predictions(output)), target


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
