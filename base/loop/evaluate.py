"""One pass over a split without training: used between epochs and by test.py."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from base.loop.metrics import MetricSet
from utils.batch import batch_size_of, call_model, split_target, to_device
from utils.distributed import all_gather
from utils.errors import UserError


def forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    """Runs ``model`` on a batch of any of the shapes that ``split_target`` knows.

    Returns:
        ``(output, target)``, as losses and metrics take them: on one device, which may be another than the inputs'.
    """
    inputs, target = split_target(batch)
    output = call_model(model, inputs)
    tensors = isinstance(output, torch.Tensor) and isinstance(target, torch.Tensor)
    return output, target.to(
        output.device
    ) if tensors and target.device != output.device else target


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
    """The sample-weighted loss and metrics of ``model``, in eval mode, over ``batches``.

    Raises:
        UserError: there was not one batch.
    """
    model.eval()
    metrics.reset()
    seen = 0

    def one_pass(batch: Any, *_: Any) -> tuple[Any, ...]:
        with autocast():
            output, target = forward(model, batch)
            return criterion(output, target), output, target, batch_size_of(target, output, batch)

    for batch in batches:
        for measured in metrics.splitting.run(to_device(batch, device), one_pass):
            metrics.measure(*measured)
        seen += 1
    if sum(all_gather(seen)) == 0:  # a rank may have none
        raise UserError("there was nothing to evaluate: the loader gave no batch")
    return metrics.result()
