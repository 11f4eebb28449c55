"""Confidence intervals of the loss and the metrics on a split, by the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from base.loop.evaluate import add_up, get_term_name
from base.loop.losses import WeightedSum
from base.loop.metrics import name_of
from base.loop.stateful_metric import is_stateful
from utils.util import one_number

Interval = tuple[float, float]
MAX_BLOCKS = 2000  # of samples; a mean is computed from resampled blocks
MEAN_RESAMPLES = 1000
OTHER_RESAMPLES = 200  # of a metric that has to be computed from the samples each time


def bootstrap_intervals(
    rows: tuple[torch.Tensor, torch.Tensor] | None,
    criterion: Any,
    metrics: Sequence[Any],
    values: dict[str, float],
) -> dict[str, Interval]:
    """Computes 95 % intervals of the loss and the metrics.

    Source: the percentile bootstrap, Efron and Tibshirani 1993, chapter 13.

    Args:
        rows: outputs and targets of all samples; None gives no intervals.
        criterion: the loss; a module is moved to the CPU, where the rows are.
        metrics: functions ``(output, target) -> number`` and torchmetrics objects.
        values: of the loss and the metrics on all rows.

    Returns:
        The lower and upper end for each name. A metric that needs the loader's own batches cannot
        be computed on resampled rows, and has no interval.
    """
    if rows is None:
        return {}
    criterion = criterion.cpu() if isinstance(criterion, torch.nn.Module) else criterion
    functions: dict[str, Any] = {"loss": lambda output, target: add_up(criterion(output, target))}
    if isinstance(criterion, WeightedSum):
        terms = criterion.losses.items()
        functions |= {get_term_name(name): loss for name, loss in terms}
    functions |= {name_of(metric): metric for metric in metrics}
    found = {}
    for name, function in functions.items():
        try:
            interval = _get_interval(function, *rows, values[name])
        except Exception:  # a metric of the user may raise anything
            continue
        if np.isfinite(interval).all():
            found[name] = interval
    return found


@torch.no_grad()
def _get_interval(
    function: Any, output: torch.Tensor, target: torch.Tensor, value: float
) -> Interval:
    if is_stateful(function):
        metric = function.clone().cpu()

        def compute(indices: NDArray[Any]) -> float:
            metric.reset()
            metric.update(output[indices], target[indices])
            return float(one_number(metric.compute()))
    else:
        order = np.random.default_rng(0).permutation(len(output))
        blocks = np.array_split(order, min(len(output), MAX_BLOCKS))
        sizes = np.array([len(block) for block in blocks], dtype=float)

        def compute(indices: NDArray[Any]) -> float:
            return float(one_number(function(output[indices], target[indices])))

        sums = sizes * [compute(block) for block in blocks]
        is_mean = np.isclose(sums.sum() / len(output), value, rtol=1e-3, atol=1e-6)
        if is_mean:
            return _bootstrap(
                len(blocks),
                lambda indices: sums[indices].sum(-1) / sizes[indices].sum(-1),
                MEAN_RESAMPLES,
                vectorized=True,
            )
    return _bootstrap(len(output), compute, OTHER_RESAMPLES)


def _bootstrap(
    n: int, statistic: Callable[[NDArray[Any]], Any], n_resamples: int, vectorized: bool = False
) -> Interval:
    """Bootstraps a statistic of indices below ``n``. A single sample has no interval."""
    from scipy.stats import bootstrap

    interval = bootstrap(
        (np.arange(n),),
        lambda indices, axis=-1: statistic(indices),
        n_resamples=n_resamples,
        batch=50 if vectorized else 1,
        vectorized=vectorized,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)
