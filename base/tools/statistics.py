"""Means with intervals over seeds and folds, and the comparison of two sets of runs.

scipy gives the distributions and the permutation test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

LEVEL = 0.05  # of intervals (95 %) and tests
POWER = 0.8  # the probability to tell a real difference
MAX_COUNT = 1000  # the largest number of seeds that ``count_to_tell`` considers
TINY = 1e-290  # a smaller deviation has no exact square
RESAMPLES = 2**14  # up to 14 differences, the permutation test is exact


class Estimate(NamedTuple):
    """A mean, and half the width of its 95 % interval; None if a single value has no interval."""

    mean: float
    half_width: float | None

    @property
    def low(self) -> float:
        """The lower end of the interval; minus infinity without one."""
        return self.mean - (math.inf if self.half_width is None else self.half_width)

    @property
    def high(self) -> float:
        """The upper end of the interval; infinity without one."""
        return self.mean + (math.inf if self.half_width is None else self.half_width)


class Comparison(NamedTuple):
    """How two sets of runs differ.

    Attributes:
        difference: the mean of the first set minus the mean of the second.
        p: of a two-sided permutation test; without pairs, of Welch's test.
        least_p: the smallest p that so few pairs can give; 0 without pairs.
        is_decided: whether the sign of the difference can be told.
        enough: how many values of each set would tell it with 80 % power, if mean and spread stay
            as they are; None if even ``MAX_COUNT`` would not.
    """

    difference: Estimate
    p: float
    least_p: float
    is_decided: bool
    enough: int | None


def estimate_mean(values: Sequence[float], overlap: float = 0.0) -> Estimate:
    """Computes a mean and its 95 % interval.

    Independent values, such as those of several seeds, get Student's t interval. Those of folds
    depend on each other, because their training sets overlap: their variance is multiplied by
    ``1 / n + n_test / n_train`` instead of ``1 / n``.

    Sources: Nadeau and Bengio 2003, https://doi.org/10.1023/A:1024068626366, for one
    cross-validation; Bouckaert and Frank 2004, https://doi.org/10.1007/978-3-540-24775-3_3, for one
    that is repeated with other folds.

    Args:
        values: at least one.
        overlap: n_test / n_train, which is 1 / (k - 1) for k folds; 0 for independent values.
    """
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return Estimate(mean, None)
    error = _deviation(values) * math.sqrt(1 / len(values) + overlap)
    return Estimate(mean, _get_quantile(len(values) - 1) * error)


def compare_paired(differences: Sequence[float], overlap: float = 0.0) -> Comparison:
    """Compares two sets of runs by the differences of their pairs.

    The sign is told if the interval excludes 0 and the permutation test agrees. With five pairs or
    less, the test cannot reach 5 %, so that the interval decides. The test flips signs, as if the
    pairs were independent; the interval of folds considers that they are not.

    Args:
        differences: of at least two pairs.
        overlap: as for ``estimate_mean``.
    """
    difference = estimate_mean(differences, overlap)
    p, least_p = _permute(differences), 2 / 2 ** len(differences)
    deviation = _deviation(differences)
    if deviation == 0:  # the interval has no width, so that it says nothing
        is_decided = p <= LEVEL
        enough = None if difference.mean == 0 else math.ceil(math.log2(2 / LEVEL))
        return Comparison(difference, p, least_p, is_decided, enough)
    is_decided = _excludes_zero(difference) and (p <= LEVEL or least_p > LEVEL)

    def get_error(count: int) -> tuple[float, float]:
        return deviation * math.sqrt(1 / count + overlap), count - 1

    return Comparison(difference, p, least_p, is_decided, count_to_tell(difference.mean, get_error))


def compare_unpaired(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Compares two sets of runs that have no pairs, by Welch's interval and test.

    Source: Welch 1947, https://doi.org/10.1093/biomet/34.1-2.28.

    Args:
        first, second: at least two independent values each.
    """
    from scipy.stats import ttest_ind_from_stats

    means = math.fsum(first) / len(first), math.fsum(second) / len(second)
    deviations = _deviation(first), _deviation(second)
    mean, scale = means[0] - means[1], max(deviations)
    if scale == 0:  # no spread says nothing about that of other seeds
        return Comparison(Estimate(mean, None), 1.0, 0.0, False, None)
    scaled = [deviation / scale for deviation in deviations]  # powers of them do not overflow
    variances = [deviation**2 for deviation in scaled]

    def get_error(count: int, other_count: int | None = None) -> tuple[float, float]:
        counts = (count, count if other_count is None else other_count)
        squares = [variance / n for variance, n in zip(variances, counts, strict=True)]
        below = sum(square**2 / (n - 1) for square, n in zip(squares, counts, strict=True))
        return scale * math.sqrt(sum(squares)), sum(squares) ** 2 / below

    error, freedom = get_error(len(first), len(second))
    difference = Estimate(mean, _get_quantile(freedom) * error)
    facts = (mean / scale, scaled[0], len(first), 0.0, scaled[1], len(second))
    p = float(ttest_ind_from_stats(*facts, equal_var=False).pvalue)
    enough = count_to_tell(mean, get_error)
    return Comparison(difference, p, 0.0, _excludes_zero(difference), enough)


def count_to_tell(difference: float, get_error: Callable[[int], tuple[float, float]]) -> int | None:
    """Finds the number of values with which a t test of a difference has a power of 80 %.

    Args:
        difference: the true one.
        get_error: returns the standard error and the degrees of freedom for a number of values.

    Returns:
        At least 2; None if ``MAX_COUNT`` values are too few.
    """
    if difference == 0 or _get_power(difference, *get_error(MAX_COUNT)) < POWER:
        return None
    too_few, enough = 1, MAX_COUNT
    while enough - too_few > 1:  # the power grows with the number
        middle = (too_few + enough) // 2
        if _get_power(difference, *get_error(middle)) < POWER:
            too_few = middle
        else:
            enough = middle
    return enough


def _get_power(difference: float, error: float, freedom: float) -> float:
    """The power of a two-sided t test, by the noncentral t distribution."""
    from scipy.stats import nct

    power = float(nct.sf(_get_quantile(freedom), freedom, abs(difference) / error))
    return 1.0 if math.isnan(power) else power  # scipy has no value for some that are nearly 1


def _permute(differences: Sequence[float]) -> float:
    """The p of a test that flips the signs of differences; exact up to 14 of them."""
    import numpy as np
    from scipy.stats import permutation_test

    result = permutation_test(
        (np.asarray(differences, dtype=float),),
        np.mean,
        permutation_type="samples",
        n_resamples=RESAMPLES,
        vectorized=True,
        batch=1024,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def _deviation(values: Sequence[float]) -> float:
    """The standard deviation; 0 if the values differ by rounding only."""
    mean = math.fsum(values) / len(values)
    deviation = math.hypot(*(value - mean for value in values)) / math.sqrt(len(values) - 1)
    return 0.0 if deviation < max(1e-12 * max(map(abs, values)), TINY) else deviation


def _excludes_zero(estimate: Estimate) -> bool:
    return estimate.low > 0 or estimate.high < 0


def _get_quantile(freedom: float) -> float:
    """The factor of a 95 % interval, from Student's t distribution."""
    from scipy.stats import t

    return float(t.ppf(1 - LEVEL / 2, freedom))
