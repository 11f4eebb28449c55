"""Counts the targets in a batch that count: samples, tokens or pixels that no loss ignores."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from base.loop.metrics import MetricSet
from utils.batch import find_target
from utils.distributed import all_gather

IGNORE_INDEX = -100  # of torch's losses
CAUSAL = "CausalLM"  # in the names of HuggingFace's outputs of models that shift their labels


class TargetCounts(NamedTuple):
    """The targets in a batch that count.

    Attributes:
        weight: of the batch among others.
        of_means: their number by the name of each mean; empty if all samples count.
    """

    weight: float
    of_means: Mapping[str, float]


EACH_SAMPLE = TargetCounts(1.0, {})
NO_TARGETS = TargetCounts(0.0, {"loss": 0.0})


class TargetCounter:
    """Counts the targets in a batch over which the loss and the metrics are means.

    It counts batches on the CPU, before they are moved, so that nothing waits for an accelerator.

    - A loss counts the classes in integer targets, except ``ignore_index``. If the loss has torch's
      default of -100, and targets (N,) have no such class, all batches have the same weight.
    - torch's losses with weights of classes count these weights, as their mean does.
    - A loss with a method ``count_targets(batch)`` counts them itself, for example by a mask.
    - A metric that takes an ``ignore_index`` is a mean over the targets that count.

    Args:
        criterion: the loss.
        metrics: of the pass; None if they are not a MetricSet.
    """

    def __init__(self, criterion: Any, metrics: MetricSet | None) -> None:
        self.count_by_loss: Callable[[Any], float] | None = getattr(
            criterion, "count_targets", None
        )
        is_mean = _get_option(criterion, "reduction", "mean") == "mean"
        self.ignore_index = find_ignore_index(criterion) if is_mean else None
        self.is_explicit = self.ignore_index not in (None, IGNORE_INDEX)
        if isinstance(criterion, functools.partial):
            self.is_explicit |= "ignore_index" in criterion.keywords
        self.shift = int(_get_option(criterion, "shifts_labels", False))
        self.class_weights = find_class_weights(criterion)
        functions = {} if metrics is None else metrics.functions
        self.functions = {
            name: index
            for name, function in functions.items()
            if (index := find_metric_index(function)) is not None
        }

    def fits(self, batch: Any, on_ranks: bool = False) -> bool:
        """Whether batches of this form are weighed by targets.

        Args:
            batch: of the pass.
            on_ranks: whether each batch is divided among ranks. Then targets (N,) are counted only
                if the loss names its ``ignore_index``, because counting waits for the other ranks.
        """
        if self.count_by_loss is not None:
            return True
        target = find_target(batch)
        if self.ignore_index is None or not has_classes(target):
            return False
        return target.ndim > 1 or self.is_explicit or not on_ranks

    def count(self, batch: Any) -> TargetCounts:
        """Counts the targets in a batch."""
        target = find_target(batch)
        if self.count_by_loss is not None:
            count = float(self.count_by_loss(batch))
            return TargetCounts(count, self._count_means(target, count))
        if self.ignore_index is None or not has_classes(target):
            return NO_TARGETS
        if target.ndim > 1 or self.is_explicit:
            labels = self._select_labels(target)
            count = count_classes(labels, self.ignore_index, self.class_weights)
            return TargetCounts(count, self._count_means(target, count))
        count = count_classes(target, self.ignore_index)
        if count == len(target):
            return EACH_SAMPLE
        return TargetCounts(count / len(target), self._count_means(target, count))

    def _count_means(self, target: Any, count: float) -> dict[str, float]:
        """The number of targets by the name of each mean; ``count`` is that of the loss."""
        if not has_classes(target):
            return {"loss": count}
        if target.ndim == 1 and not self.is_explicit and count == len(target):
            return {}
        labels = self._select_labels(target)
        found = {name: count_classes(labels, index) for name, index in self.functions.items()}
        return {"loss": count, **found}

    def _select_labels(self, target: torch.Tensor) -> torch.Tensor:
        """The labels that a causal model predicts: not the first one of each sample."""
        return target[..., self.shift :] if target.ndim > 1 else target


def find_counter(
    criterion: Any, metrics: MetricSet | None, batch: Any, on_ranks: bool
) -> TargetCounter | None:
    """Returns the counter of a pass from its first batch; None if batches weigh by samples.

    With ``on_ranks``, all ranks must call this at the same time: the first batch of one of them may
    be empty.
    """
    counter = TargetCounter(criterion, metrics)
    if counter.count_by_loss is None and counter.ignore_index is None:
        return None
    fits = counter.fits(batch, on_ranks)
    if on_ranks:
        fits = any(all_gather(fits))
    return counter if fits else None


def ignores_all(ignore_index: int, target: Any) -> bool:
    """Whether every class in ``target`` is ``ignore_index``.

    A target on an accelerator is not looked at, because that would wait for it.
    """
    if not isinstance(target, torch.Tensor) or target.is_floating_point() or not target.is_cpu:
        return False
    if not target.numel() or target.numpy().item(0) != ignore_index:
        return False
    return bool((target == ignore_index).all())


def ignores_any(ignore_index: int, target: Any) -> bool:
    """Whether a class in ``target`` is ``ignore_index``, if that can be read without waiting."""
    return has_classes(target) and count_classes(target, ignore_index) < target.numel()


def find_ignore_index(criterion: Any) -> int | None:
    """The class that a loss ignores: its attribute or argument ``ignore_index``, or torch's -100.

    None for a loss of torch that ignores nothing.
    """
    if isinstance(criterion, functools.partial):
        return criterion.keywords.get("ignore_index", find_ignore_index(criterion.func))
    if isinstance(criterion, nn.Module) and "ignore_index" in vars(criterion):
        given: int | None = vars(criterion)["ignore_index"]
        return given
    inner = criterion.modules() if isinstance(criterion, nn.Module) else [criterion]
    for loss in inner:
        index = getattr(loss, "ignore_index", None)
        if isinstance(index, int):
            return index
    parameter = inspect.signature(criterion).parameters.get("ignore_index")
    if parameter is not None and isinstance(parameter.default, int):
        return parameter.default
    # Also of torchvision, whose losses ignore nothing.
    return None if _get_module(criterion).startswith("torch") else IGNORE_INDEX


def has_classes(target: Any) -> bool:
    """Whether a target is a tensor of classes that can be read without waiting for a device."""
    is_tensor = isinstance(target, torch.Tensor) and target.is_cpu and target.ndim > 0
    if not is_tensor or target.is_floating_point() or target.is_complex():
        return False
    return target.dtype is not torch.bool


def count_classes(
    target: torch.Tensor, ignore_index: int, class_weights: torch.Tensor | None = None
) -> float:
    """The number of classes in ``target``, or the sum of their weights, without ignored ones."""
    if class_weights is None:
        return target.numel() - int(np.count_nonzero(target.numpy() == ignore_index))
    return float(class_weights[target[target != ignore_index].long()].double().sum())


def find_class_weights(criterion: Any) -> torch.Tensor | None:
    """The weights of the classes in a loss of torch; None if there are none."""
    function = criterion.func if isinstance(criterion, functools.partial) else criterion
    is_of_torch = _get_module(function).startswith("torch.")
    weight = _get_option(criterion, "weight", None) if is_of_torch else None
    return weight.detach().cpu() if isinstance(weight, torch.Tensor) else None


def find_metric_index(function: Any) -> int | None:
    """The class that a metric ignores; None for a metric that has no ``ignore_index``."""
    if isinstance(function, functools.partial) and "ignore_index" in function.keywords:
        index = function.keywords["ignore_index"]
    else:
        try:
            parameter = inspect.signature(function).parameters.get("ignore_index")
        except (TypeError, ValueError):  # it is not written in Python
            return None
        if parameter is None:
            return None
        index = parameter.default
    return index if isinstance(index, int) else IGNORE_INDEX


def shifts_labels(model: torch.nn.Module) -> bool:
    """Whether a model is a causal one of HuggingFace, whose loss compares with the next label."""
    for module in model.modules():
        annotation = getattr(type(module).forward, "__annotations__", {}).get("return")
        if CAUSAL in str(annotation):
            return True
    return False


def align_labels(output: Any, target: Any) -> tuple[Any, Any]:
    """The predictions of a causal model and the labels that they predict, for the metrics.

    Args:
        output: of a model that computes its loss; only those of causal models are changed.
        target: the labels (N, T).
    """
    if CAUSAL not in type(output).__name__ or not isinstance(output, Mapping):
        return output, target
    logits = output.get("logits")
    if not isinstance(logits, torch.Tensor) or not isinstance(target, torch.Tensor):
        return output, target
    if logits.shape[:-1] != target.shape:
        return output, target
    return logits[..., :-1, :], target[..., 1:]


def _get_module(function: Any) -> str:
    """The name of the module that defines a loss or its class; empty if unknown."""
    return getattr(function, "__module__", None) or ""


def _get_option(criterion: Any, name: str, default: Any) -> Any:
    """An argument of a loss: bound to a function, or kept by a module as an attribute."""
    if isinstance(criterion, functools.partial):
        return criterion.keywords.get(name, default)
    return getattr(criterion, name, default)
