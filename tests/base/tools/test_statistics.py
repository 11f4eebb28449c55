"""Intervals over seeds and folds, and comparisons, against formulas and published examples."""

from __future__ import annotations

import math

import pytest
from scipy.stats import ttest_ind

from base.tools.statistics import compare_paired, compare_unpaired, count_to_tell, estimate_mean

T4, T14 = 2.776445, 2.144787  # 97.5 % of Student's t with 4 and 14 degrees of freedom
# Hours of sleep that one drug gives more than another: Student 1908.
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]


def test_the_interval_over_seeds_is_students() -> None:
    found = estimate_mean([1, 2, 3, 4, 5])
    assert found.mean == 3
    assert found.half_width == pytest.approx(T4 * math.sqrt(2.5 / 5), rel=1e-6)
    assert (found.low, found.high) == pytest.approx((1.036757, 4.963243), rel=1e-6)


def test_the_interval_over_folds_is_corrected_for_their_overlap() -> None:
    found = estimate_mean([1, 2, 3, 4, 5], overlap=1 / 4)
    assert found.half_width == pytest.approx(T4 * math.sqrt(2.5 * (1 / 5 + 1 / 4)), rel=1e-6)
    repeated = estimate_mean([1, 2, 3, 4, 5] * 3, overlap=1 / 4)
    variance = 30 / 14 * (1 / 15 + 1 / 4)
    assert repeated.half_width == pytest.approx(T14 * math.sqrt(variance), rel=1e-6)


def test_a_single_value_has_no_interval() -> None:
    found = estimate_mean([0.5])
    assert found == (0.5, None)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_pairs_are_compared_as_student_did() -> None:
    found = compare_paired(SLEEP)
    assert found.difference.mean == pytest.approx(1.58)
    assert found.difference.low == pytest.approx(0.7001142, rel=1e-6)  # R: t.test(paired = TRUE)
    assert found.difference.high == pytest.approx(2.459886, rel=1e-6)
    # No sum is larger, and the sign of 0 has no effect: 2 of 1024 on each side.
    assert found.p == pytest.approx(4 / 1024)
    assert found.is_decided


def test_five_pairs_are_decided_by_the_interval_because_p_cannot_be_small() -> None:
    found = compare_paired([0.010, 0.012, 0.020, 0.005, 0.011])
    assert found.p == found.least_p == 0.0625
    assert found.is_decided
    assert not compare_paired([0.010, -0.012, 0.020, 0.005, 0.011]).is_decided


def test_a_difference_is_decided_only_if_interval_and_test_agree() -> None:
    found = compare_paired([1, 1, 1, 1, 1, -0.05])
    assert found.difference.low > 0
    assert found.p == 0.0625
    assert not found.is_decided


def test_folds_that_overlap_tell_less_than_seeds() -> None:
    differences = [0.01, 0.02, 0.03, 0.012, 0.004]
    assert compare_paired(differences).is_decided
    assert not compare_paired(differences, overlap=1 / 4).is_decided
    assert compare_paired(differences).enough == 6
    assert compare_paired([0.01, 0.05, -0.02, 0.03, 0.0], overlap=1 / 4).enough is None


@pytest.mark.parametrize(("effect", "count"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_the_number_of_pairs_is_that_of_published_tables(effect: float, count: int) -> None:
    """Faul et al. 2007, https://doi.org/10.3758/BF03193146: G*Power, two-sided, 80 % power."""
    assert count_to_tell(effect, lambda n: (1 / math.sqrt(n), n - 1)) == count
    assert count_to_tell(-effect, lambda n: (1 / math.sqrt(n), n - 1)) == count


def test_the_number_of_unpaired_runs_is_that_of_published_tables() -> None:
    """Cohen 1988: 64 in each group for a medium effect."""
    assert count_to_tell(0.5, lambda n: (math.sqrt(2 / n), 2 * n - 2)) == 64


def test_a_small_effect_takes_more_than_is_sensible() -> None:
    assert count_to_tell(0.05, lambda n: (1 / math.sqrt(n), n - 1)) is None
    assert count_to_tell(0.0, lambda n: (1 / math.sqrt(n), n - 1)) is None


def test_equal_differences_are_decided_by_the_permutation_test() -> None:
    three, six = compare_paired([0.3 - 0.2] * 3), compare_paired([0.1, 0.3 - 0.2] * 3)
    assert (three.is_decided, three.enough, three.difference.half_width) == (False, 6, 0)
    assert six.is_decided


def test_no_difference_is_not_clear() -> None:
    for differences in ([0.0] * 8, [0.1, -0.1]):
        found = compare_paired(differences)
        assert (found.p, found.is_decided, found.enough) == (1, False, None)


def test_runs_without_pairs_are_compared_as_welch_did() -> None:
    first, second = [0.90, 0.91, 0.93], [0.80, 0.86, 0.83, 0.79]
    found = compare_unpaired(first, second)
    expected = ttest_ind(first, second, equal_var=False)
    interval = expected.confidence_interval()
    assert found.difference[0] == pytest.approx(0.0933333, rel=1e-5)
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(interval))
    assert found.p == pytest.approx(expected.pvalue)
    assert found.is_decided
    assert not compare_unpaired(first, [0.8, 1.0]).is_decided
    assert not compare_unpaired([0.5, 0.5], [0.6, 0.6]).is_decided


def test_many_pairs_are_resampled_to_the_same_p_each_time() -> None:
    differences = [0.1 * (-1) ** n + 0.03 for n in range(40)]
    first, second = compare_paired(differences), compare_paired(differences)
    assert first.p == second.p
    assert first.p == pytest.approx(0.07, abs=0.03)


@pytest.mark.parametrize("scale", [1e149, 1e-200])
def test_the_scale_of_the_numbers_does_not_matter(scale: float) -> None:
    first, second = [1.0, 1.0, 1.0], [2.0, 3.0, 2.5]  # scipy warns of equal values
    expected = compare_unpaired(first, second)
    found = compare_unpaired([x * scale for x in first], [x * scale for x in second])
    assert found.difference.low == pytest.approx(expected.difference.low * scale, rel=1e-9)
    assert (found.p, found.enough) == (pytest.approx(expected.p), expected.enough)
    low = estimate_mean([scale, 2 * scale]).low
    assert low == pytest.approx(estimate_mean([1, 2]).low * scale, rel=1e-9)
