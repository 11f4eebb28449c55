"""The task of a model, as its loss shows it, or the key ``task`` of the config."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

import torch

from base.loop.losses import WeightedSum
from base.loop.metrics import name_of
from base.loop.targets import IGNORE_INDEX, find_ignore_index

# Losses of torch by the task that they are for, without "_" and "loss", in small letters.
CLASS_LOSSES = ("crossentropy", "nll", "multimargin")
BINARY_LOSSES = ("bce", "binarycrossentropy", "bcewithlogits", "binarycrossentropywithlogits")
LABEL_LOSSES = (*BINARY_LOSSES, "multilabelsoftmargin", "softmargin")
NUMBER_LOSSES = ("mse", "l1", "smoothl1", "huber", "poissonnll", "gaussiannll")
LEARNED = "a learned loss"
PROBABILITY_LOSSES = ("BCELoss", "binary_cross_entropy")  # their outputs are probabilities


@dataclass(frozen=True)
class TaskFacts:
    """Facts about the task of a model, for collectors and views.

    Attributes:
        criterion: the loss; None if it is unknown.
        task: the config's ``task``, or None.
        limit: the largest amount of numbers to keep of one pass.
    """

    criterion: Any = None
    task: str | None = None
    limit: float = inf

    @property
    def loss(self) -> str:
        """The name of the loss; empty if it is unknown. See ``describe_loss``."""
        return "" if self.criterion is None else describe_loss(self.criterion)

    @property
    def ignore_index(self) -> int | None:
        """The class that the loss ignores; None if it ignores nothing."""
        losses = list_terms(self.criterion)
        found = [index for loss in losses if (index := find_ignore_index(loss)) is not None]
        return next((index for index in found if index != IGNORE_INDEX), next(iter(found), None))


def list_terms(criterion: Any) -> list[Any]:
    """The terms of a sum, or the loss itself; empty for None."""
    if criterion is None:
        return []
    is_sum = isinstance(criterion, WeightedSum)
    return list(criterion.losses.values()) if is_sum else [criterion]


def describe_loss(criterion: Any) -> str:
    """The name of a loss, or of the first term of a sum; ``LEARNED`` if it has parameters.

    They may turn the model's output into scores, as the centres of classes do, so the output does
    not show the task.
    """
    if isinstance(criterion, WeightedSum):
        criterion = next(iter(criterion.losses.values()))
    parameters = criterion.parameters() if isinstance(criterion, torch.nn.Module) else iter(())
    return name_of(criterion) if next(parameters, None) is None else LEARNED


def simplify_loss(loss: str) -> str:
    """The name of a loss as the lists of losses above have it."""
    return loss.lower().replace("_", "").removesuffix("loss")


def is_zero_or_one(target: torch.Tensor) -> bool:
    """Whether each value is 0 or 1. This waits for an accelerator."""
    return bool(((target == 0) | (target == 1)).all())
