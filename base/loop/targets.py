"""Weighs batches by the targets that count: tokens or pixels that the loss does not ignore.

A cross entropy over tokens is a mean over the tokens that count, and batches have different numbers
of them. The mean over several batches must weigh each by its number, and so must the gradient of an
accumulation window. See https://huggingface.co/blog/gradient_accumulation.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from base.loop.metrics import MetricSet
from utils.batch import find_target
from utils.distributed import all_gather, process_group

LOGGER = logging.getLogger("train")
IGNORE_INDEX = -100  # of torch's losses
CAUSAL = "CausalLM"  # in the names of HuggingFace's outputs of models that shift their labels


class TargetCounter:
    """Counts the targets in a batch over which the loss and the metrics are means.

    It counts batches on the CPU, before they are moved, so that nothing waits for an accelerator.

    - A loss counts the classes in integer targets, except ``ignore_index``. Targets (N,) count as
      equal batches if the loss has torch's default of -100 and a batch has no such class.
    - Of torch's losses, the weights of the classes count, as they do in their mean.
    - A loss with a method ``count_targets(batch)`` counts them itself, for example by a mask.
    - A metric that takes an ``ignore_index`` is a mean over the targets that count.

    Args:
        criterion: the loss.
        metrics: of the pass; None if they are not a MetricSet.
    """

    def __init__(self, criterion: Any, metrics: MetricSet | None) -> None:
        self.ask: Callable[[Any], float] | None = getattr(criterion, "count_targets", None)
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
            on_ranks: whether ranks share a batch. Targets (N,) then must be known to have ignored
                classes, because otherwise each step would wait for the other ranks without need.
        """
        if self.ask is not None:
            return True
        target = find_target(batch)
        if self.ignore_index is None or not has_classes(target):
            return False
        return target.ndim > 1 or self.is_explicit or not on_ranks

    def count(self, batch: Any) -> tuple[float, float]:
        """Counts the targets of the loss in a batch.

        Returns:
            Their number, and the weight of the batch among others.
        """
        if self.ask is not None:
            count = float(self.ask(batch))
            return count, count
        target = find_target(batch)
        if self.ignore_index is None or not has_classes(target):
            return 0, 0
        labels = target[..., self.shift :] if target.ndim > 1 else target
        count = count_classes(labels, self.ignore_index, self.class_weights)
        if target.ndim > 1 or self.is_explicit:
            return count, count
        count = count_classes(target, self.ignore_index)
        return count, count / len(target)

    def count_each(self, batch: Any, count: float) -> dict[str, float]:
        """The number of targets by the name of each mean; ``count`` is that of the loss."""
        target = find_target(batch)
        if not has_classes(target):
            return {"loss": count}
        if target.ndim == 1 and not self.is_explicit and count == len(target):
            return {}  # each sample counts
        labels = target[..., self.shift :] if target.ndim > 1 else target
        found = {name: count_classes(labels, index) for name, index in self.functions.items()}
        return {"loss": count, **found}


class WindowTargets:
    """Makes the gradient of an accumulation window the mean over all its targets.

    Attributes:
        n_in_batch: the number of targets in the current batch, over all ranks.
    """

    def __init__(self) -> None:
        self.n_in_batch = 0.0
        self._first = self._total = 0.0

    def weigh_batch(self) -> float:
        """The weight of the batch: its number of targets relative to that of the first one."""
        self._first = self._first or self.n_in_batch
        self._total += self.n_in_batch
        return self.n_in_batch / self._first if self._first else 0.0

    def end_window(self, n_batches: int) -> float:
        """Returns the factor that the gradient still lacks, after ``n_batches``."""
        factor = n_batches * self._first / self._total if self._total else 1.0
        self._first = self._total = 0.0
        return factor


def find_counter(
    criterion: Any, metrics: MetricSet | None, batch: Any, on_ranks: bool
) -> TargetCounter | None:
    """Returns the counter of a pass from its first batch; None if batches weigh by samples.

    In a training, all ranks must call this together, because a rank's first batch may be empty.
    """
    counter = TargetCounter(criterion, metrics)
    fits = counter.fits(batch, on_ranks)
    if on_ranks:
        fits = any(all_gather(fits))
    return counter if fits else None


def add_ranks(weight: float) -> float:
    """The sum of the ranks' weights of a batch. All ranks must call this together."""
    total = torch.tensor(weight, dtype=torch.float64)
    torch.distributed.all_reduce(total, group=process_group())
    return total.item()


@functools.cache  # once
def warn_of_ranks(ignore_index: int) -> None:
    """Warns that ranks ignore targets (N,) which no option has announced."""
    LOGGER.warning(
        "loss: some targets are %d and ignored, but the processes weigh their batches by samples. "
        "Give the loss the argument ignore_index to weigh them by the targets that count.",
        ignore_index,
    )


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
    is_of_torch = (getattr(criterion, "__module__", None) or "").startswith("torch")
    return None if is_of_torch else IGNORE_INDEX


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
    is_of_torch = (getattr(function, "__module__", None) or "").startswith("torch.")
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


def _get_option(criterion: Any, name: str, default: Any) -> Any:
    """An argument of a loss: bound to a function, or kept by a module as an attribute."""
    if isinstance(criterion, functools.partial):
        return criterion.keywords.get(name, default)
    return getattr(criterion, name, default)
