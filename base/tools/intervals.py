"""Confidence intervals of the loss and the metrics on a split, by the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from base.data.units import TargetUnits
from base.loop.blame import compute_value
from base.loop.evaluate import add_up, get_term_name
from base.loop.losses import WeightedSum
from base.loop.metrics import name_of
from base.loop.stateful_metric import is_stateful
from base.tools.batch_means import explain, is_close
from utils.distributed import world_size
from utils.numbers import split_numbers
from utils.util import one_number

Interval = tuple[float, float]
MAX_BLOCKS = 2000  # of samples; a mean is computed from resampled blocks
MEAN_RESAMPLES = 1000
OTHER_RESAMPLES = 200  # of a metric that has to be computed from the samples each time
NAMES_SHOWN = 5
NO_ROWS = "the outputs are not one row of numbers for each sample"
SEVERAL_RANKS = "each process has some samples only; test with one process"


class NoIntervalError(Exception):
    """The resampled statistic does not reproduce the reported value; the text says why."""


class Intervals(NamedTuple):
    """The intervals of numbers.

    Attributes:
        found: the lower and upper end by name.
        reasons: for each other number, why it has no interval.
    """

    found: dict[str, Interval]
    reasons: dict[str, str]

    def format_reasons(self) -> list[str]:
        """Returns a sentence for each reason, with the numbers that it holds for."""
        names: dict[str, list[str]] = {}
        for name, reason in self.reasons.items():
            names.setdefault(reason, []).append(name)
        if not self.found and len(names) == 1:
            return [f"No intervals: {reason}." for reason in names]
        return [f"No interval for {_join(items)}: {reason}." for reason, items in names.items()]


def _join(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def bootstrap_intervals(
    rows: tuple[torch.Tensor, torch.Tensor] | None,
    criterion: Any,
    metrics: Sequence[Any],
    values: dict[str, float],
    units: TargetUnits | None = None,
    labels: Sequence[str] = (),
) -> Intervals:
    """Computes 95 % intervals of the loss and the metrics.

    A number has an interval only if the statistic that is resampled gives the reported value on
    all samples.

    Source: the percentile bootstrap, Efron and Tibshirani 1993, chapter 13.

    Args:
        rows: outputs and targets of all samples, in real units; None gives no intervals.
        criterion: the loss; a module is moved to the CPU, where the rows are.
        metrics: functions ``(output, target) -> number`` and torchmetrics objects.
        values: of the loss and the metrics on all rows.
        units: scale the rows for the loss; None if they are not scaled.
        labels: the names of classes in those of numbers; see ``split_numbers``.
    """
    if rows is None:
        reason = NO_ROWS if world_size() == 1 else SEVERAL_RANKS
        return Intervals({}, dict.fromkeys(values, reason))
    found: dict[str, Interval] = {}
    reasons: dict[str, str] = {}
    for name, function in _list_functions(criterion, metrics, units).items():
        if is_stateful(function):
            statistics = [_Statistic(name, _make_compute(function))]
        else:
            statistics = _list_statistics(name, function, rows, labels)
        for statistic in statistics:
            if statistic.name not in values:
                continue
            try:
                interval = _find_interval(statistic, function, *rows, values[statistic.name])
                if np.isfinite(interval).all():
                    found[statistic.name] = interval
                else:
                    reasons[statistic.name] = "some resamples of the data have no value"
            except NoIntervalError as error:
                reasons[statistic.name] = str(error)
            except Exception:  # the user's metric may raise anything
                reasons[statistic.name] = "it cannot be computed on resamples of the data"
    several = "it is one of several numbers of a metric, or computed in another way"
    reasons |= {name: several for name in values if name not in found and name not in reasons}
    return Intervals(found, reasons)


class _Statistic(NamedTuple):
    """One number of a metric: its name, and the function that computes it."""

    name: str
    compute: Callable[[torch.Tensor, torch.Tensor], float]


def _list_functions(
    criterion: Any, metrics: Sequence[Any], units: TargetUnits | None
) -> dict[str, Any]:
    """The loss, its terms and the metrics by name, as functions of rows in real units."""
    criterion = criterion.cpu() if isinstance(criterion, torch.nn.Module) else criterion

    def take_real_units(loss: Any) -> Any:
        if units is None:
            return lambda output, target: add_up(loss(output, target))
        return lambda output, target: add_up(loss(units.scale(output), units.scale(target)))

    functions: dict[str, Any] = {"loss": take_real_units(criterion)}
    if isinstance(criterion, WeightedSum):
        terms = criterion.losses.items()
        functions |= {get_term_name(name): take_real_units(loss) for name, loss in terms}
    return functions | {name_of(metric): metric for metric in metrics}


def _make_compute(metric: Any) -> Callable[[torch.Tensor, torch.Tensor], float]:
    """Returns a function of rows that computes the number of a torchmetrics object."""
    metric = metric.clone().cpu()

    def compute(output: torch.Tensor, target: torch.Tensor) -> float:
        metric.reset()
        metric.update(output, target)
        return float(one_number(compute_value(metric)[0]))

    return compute


def _list_statistics(
    name: str, function: Any, rows: tuple[torch.Tensor, torch.Tensor], labels: Sequence[str]
) -> list[_Statistic]:
    """The numbers that a function gives: one, or several in a vector or dict."""

    def pick(key: str) -> Callable[[torch.Tensor, torch.Tensor], float]:
        return lambda output, target: float(
            split_numbers(name, function(output, target), labels)[key]
        )

    try:
        with torch.no_grad():
            keys = list(split_numbers(name, function(*rows), labels))
    except Exception:  # the user's metric may raise anything
        keys = [name]
    return [_Statistic(key, pick(key)) for key in keys]


@torch.no_grad()
def _find_interval(
    statistic: _Statistic, function: Any, output: torch.Tensor, target: torch.Tensor, value: float
) -> Interval:
    """Bootstraps a number, as a mean over samples if it is one: that needs no recomputation.

    Args:
        statistic: computes the number.
        function: the loss or metric that gives it.
        output, target: the rows.
        value: the reported number.

    Raises:
        NoIntervalError: neither way reproduces ``value`` on all rows.
    """

    def compute(indices: NDArray[Any]) -> float:
        return statistic.compute(output[indices], target[indices])

    interval = None if is_stateful(function) else _bootstrap_mean(compute, len(output), value)
    if interval is not None:
        return interval
    computed = compute(np.arange(len(output)))
    if is_close(computed, value):
        return _bootstrap(len(output), compute, OTHER_RESAMPLES)
    if is_stateful(function) or statistic.name.startswith("loss"):
        raise NoIntervalError(f"it is {computed:.6g} if it is computed from the outputs")
    raise NoIntervalError(explain(function))


def _bootstrap_mean(
    compute: Callable[[NDArray[Any]], float], n: int, value: float
) -> Interval | None:
    """Bootstraps a mean over ``n`` samples from its values on blocks of samples.

    Returns:
        The interval; None if ``value`` is not such a mean, or cannot be computed on a block.
    """
    order = np.random.default_rng(0).permutation(n)
    blocks = np.array_split(order, min(n, MAX_BLOCKS))
    sizes = np.array([len(block) for block in blocks], dtype=float)
    try:
        sums = np.asarray(sizes * [compute(block) for block in blocks])
    except Exception:  # R2, for example, needs several samples
        return None
    if not is_close(sums.sum() / n, value):
        return None
    return _bootstrap(
        len(blocks),
        lambda indices: sums[indices].sum(-1) / sizes[indices].sum(-1),
        MEAN_RESAMPLES,
        vectorized=True,
    )


def _bootstrap(
    n: int, statistic: Callable[[NDArray[Any]], Any], n_resamples: int, vectorized: bool = False
) -> Interval:
    """Bootstraps a statistic of indices below ``n``. A single sample has no interval."""
    from scipy.stats import bootstrap

    if n < 2:
        raise NoIntervalError("there is only one sample")
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
