"""One pass over a split without training, for the validation and for test.py."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from base.data.loader import find_divided_loader
from base.loop.metrics import MetricSet
from utils.batch import num_batches, split_target, to_device
from utils.distributed import all_gather
from utils.errors import UserError


def forward(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    """Calls ``model`` with the inputs of a batch, in any form that ``split_target`` accepts.

    Several inputs become positional arguments; a mapping of inputs becomes keyword arguments.

    Returns:
        ``(output, target)``, the arguments of losses and metrics. The target is moved to the
        output's device, which differs from the inputs' device if a model uses several devices.
    """
    inputs, target = split_target(batch)
    if isinstance(inputs, Mapping):
        output = model(**inputs)
    elif isinstance(inputs, list | tuple):
        output = model(*inputs)
    else:
        output = model(inputs)
    if isinstance(output, torch.Tensor) and isinstance(target, torch.Tensor):
        target = to_device(target, output.device)
    return output, target


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
    model.eval()
    metrics.reset()
    n_batches = 0
    for batch in batches:
        batch = to_device(batch, device)
        with autocast():
            output, target = forward(model, batch)
            loss = criterion(output, target)
        metrics.add_batch(loss, output, target, batch)
        n_batches += 1
    if sum(all_gather(n_batches)) == 0:
        raise UserError("there was nothing to evaluate: the data loader gave no batch")
    return metrics.result()


def iterate_in_lockstep(batches: Iterable[Any]) -> Iterator[Any]:
    """Yields ``batches``, and then None for each batch that only other ranks have."""
    given = 0
    for batch in batches:
        given += 1
        yield batch
    loader = find_divided_loader(batches)
    total = num_batches(batches) or 0 if loader is None else loader.num_given
    for _ in range(given, total):
        yield None
