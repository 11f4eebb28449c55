"""One pass over a split without training, for the validation and for test.py."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from base.data.loader import find_counting_loader, find_divided_loader, list_sizes, map_sets
from base.loop.metrics import MetricSet
from utils.batch import find_target, is_empty, is_sequence, num_samples, split_target, to_device
from utils.distributed import all_gather, world_size
from utils.errors import UserError


def forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    """Calls ``model`` with the inputs of a batch, in any form that ``split_target`` accepts.

    Several inputs become positional arguments; a mapping of inputs becomes keyword arguments. A
    model that computes its loss itself (``ModelLoss``) gets the batch with the target.

    Returns:
        ``(output, target)``, the arguments of losses and metrics. Of an output that has ``logits``,
        losses and metrics get these. The target is moved to the output's device, which differs from
        the inputs' device if a model uses several devices.

    Raises:
        UserError: the batch has no target, or the model does not take its inputs.
    """
    is_with_target = computes_loss(model)
    inputs, target = (batch, find_target(batch)) if is_with_target else split_target(batch)
    try:
        if isinstance(inputs, Mapping):
            output = model(**inputs)
        elif is_sequence(inputs):
            output = model(*inputs)
        else:
            output = model(inputs)
    except (AttributeError, RuntimeError, TypeError) as error:
        from base.loop.mismatch import check_inputs

        check_inputs(error, model, inputs, target if is_with_target else None)
        raise
    except (AssertionError, LookupError, ValueError) as error:
        from base.loop.mismatch import check_targets

        check_targets(error, model, target if is_with_target else None)
        raise
    if not is_with_target and not isinstance(output, torch.Tensor):
        output = find_predictions(output)
    if isinstance(output, torch.Tensor) and isinstance(target, torch.Tensor):
        target = to_device(target, output.device)
    return output, target


def computes_loss(model: nn.Module) -> bool:
    """Whether a model computes its loss, and so gets the batch with the target."""
    return bool(vars(model).get("gives_loss", False))


def mark_computes_loss(model: nn.Module, value: bool) -> None:
    """Sets what ``computes_loss`` returns for a model."""
    vars(model)["gives_loss"] = value


def find_predictions(output: Any) -> Any:
    """The ``logits`` of a mapping or an object, as HuggingFace's models return it.

    Of torchvision's models of segmentation it is ``out``. The scores of their second classifier are
    its attribute ``aux``, which a loss of the project may read.

    Anything else is returned as it is. A named tuple may have other outputs that a loss needs, as
    Inception's does.
    """
    if isinstance(output, Mapping):
        scores = output.get("out")
        if isinstance(scores, torch.Tensor) and set(output) <= {"out", "aux"}:
            scores.aux = output.get("aux")  # type: ignore[attr-defined]
            return scores
        return output.get("logits", output)
    return output if isinstance(output, tuple) else getattr(output, "logits", output)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[Any],
    criterion: Callable[[Any, Any], torch.Tensor],
    metrics: MetricSet,
    device: torch.device,
    forward: Callable[[nn.Module, Any], tuple[Any, Any]] = forward,
    autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
) -> dict[str, float]:
    """Computes the sample-weighted loss and metrics of ``model``, in eval mode, over ``batches``.

    Raises:
        UserError: there was no batch on any rank.
    """
    from base.loop.validation import in_eval_mode

    model.eval()
    metrics.reset()
    n_batches = 0
    weigher = Weigher(metrics.loader, criterion, metrics)
    with in_eval_mode(criterion):
        for batch in batches:
            n_batches += 1
            if weigher.weigh(batch) == 0:
                if metrics.rows is not None:
                    metrics.rows.skip(weigher.num_ignored)
                continue
            batch = to_device(batch, device)
            with autocast():
                output, target = forward(model, batch)
                loss = add_up(criterion(output, target))
            metrics.add_batch(loss, output, target, batch)
    if sum(all_gather(n_batches)) == 0:
        raise UserError("there was nothing to evaluate: the data loader gave no batch")
    return metrics.result()


def make_metric_sets(metrics: list[Any], writer: Any, device: torch.device, loader: Any) -> Any:
    """Makes a MetricSet of evaluations for a loader, or a dict of them for a dict of loaders."""

    def make(loader: Any) -> MetricSet:
        return MetricSet(metrics, writer, device, loader=loader, phase="valid")

    return make(None) if loader is None else map_sets(make, loader)


def add_prefix(name: str, numbers: Mapping[str, float]) -> dict[str, float]:
    """Prefixes the names of numbers with that of their data set, unless it is empty."""
    return {f"{name}_{key}" if name else key: value for key, value in numbers.items()}


def add_up(losses: Any, weights: Mapping[str, float] | None = None) -> Any:
    """Adds up the terms of a loss.

    Args:
        losses: terms by name, each a mean over the batch. Anything else is returned as it is.
        weights: of the terms; 1 by default.

    Returns:
        The sum, shape (). Its attribute ``terms`` has the terms without their weights, by the names
        under which they are logged. A loss that is computed from it has no such attribute.

    Raises:
        UserError: a term is not one number, or there is none.
    """
    if isinstance(losses, torch.Tensor) or not isinstance(losses, Mapping):
        return losses  # a tensor first, because it is the usual case of a step
    if "loss" in losses or not losses:
        message = "is 'loss' the sum of the others? Return either the sum or the terms"
        raise UserError(message if losses else "a dict of losses must not be empty")
    total: Any = None
    terms = {}
    for name, value in losses.items():
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            found = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise UserError(f"the loss '{name}' must be one number, not {found}; take its mean()")
        terms[get_term_name(name)] = value.detach()
        weighted = value.reshape(()) * (weights or {}).get(name, 1.0)
        total = weighted if total is None else total + weighted
    total.terms = terms
    return total


def get_term_name(name: str) -> str:
    """The name under which a term of the loss is logged."""
    return name if name.startswith("loss_") else f"loss_{name}"


class Weigher:
    """Weighs the batches of one pass, and tells a MetricSet the number of samples in each.

    Its first batch shows whether batches weigh by their samples or by the targets that count, see
    ``base/loop/batch_weights.py``.

    Args:
        loader: gives the batches.
        criterion: the loss, which may ignore targets.
        metrics: a MetricSet; other objects are not told.
        start: the number of batches of the pass that are left out.
        update: of a training, which continues at its position; None for an evaluation.

    Attributes:
        skips: whether nothing in the last batch counts, on any rank of a training.
        num_ignored: the samples of the last batch, if the loss ignores all their targets.
    """

    def __init__(
        self, loader: Any, criterion: Any, metrics: Any, start: int = 0, update: Any = None
    ) -> None:
        start = start if update is None else update.progress.batch
        self.loader, self.criterion, self.update = find_divided_loader(loader), criterion, update
        self.counter = find_counting_loader(loader)
        self.sizes = list_sizes(loader, start) if self.counter is None else iter(())
        self.metrics = metrics if isinstance(metrics, MetricSet) else None
        if self.metrics is not None:
            self.metrics.counts = {}
        self.on_ranks = update is not None and world_size() > 1
        self.weights: Any = None
        self.skips = False
        self.num_ignored = 0

    def weigh(self, batch: Any) -> float:
        """Weighs the last batch of the loader.

        Returns:
            The size of this rank's part of the batch, divided by the ranks' mean size, in samples
            or, where the loss counts them, in targets. 0 if nothing in the batch counts, because
            it has no samples, or because the loss ignores all its targets.
        """
        if self.metrics is not None:
            counter = self.counter
            size = next(self.sizes, None) if counter is None else counter.n_in_batch
            self.metrics.batch_size = size
        given = 1.0 if self.loader is None else self.loader.loss_weight
        if is_empty(batch):
            given = 0.0
        self.num_ignored = 0
        if given == 0 and not self.on_ranks:
            self.skips = True
            return 0.0
        if self.weights is None:
            from base.loop.batch_weights import make_batch_weights

            arguments = self.criterion, self.metrics, self.update, self.on_ranks
            self.weights = make_batch_weights(batch, *arguments)
        weight: float = self.weights.weigh(batch, given)
        self.skips = self.weights.skips
        if weight == 0 and given != 0:
            self.num_ignored = num_samples(find_target(batch))
        return weight
