"""Says in words which of two groups is better, or that it cannot be told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from base.tools.listing import count_decimals
from base.tools.run_record import Objective, Variant
from base.tools.statistics import LEVEL, MAX_COUNT, Comparison


class Subject(NamedTuple):
    """The names of two groups, and the number by which they are compared."""

    first: str
    second: str
    objective: Objective

    @property
    def quality(self) -> str:
        """The word for the leading group."""
        return "better" if self.objective.mode else "higher"

    @property
    def question(self) -> str:
        """What cannot be told."""
        return f"Whether {self.first} or {self.second} is {self.quality} cannot be told"

    def rank(self, difference: float) -> tuple[str, str]:
        """Returns the leading group and the other one, for a difference of the first's number."""
        is_first = difference < 0 if self.objective.mode == "min" else difference > 0
        return (self.first, self.second) if is_first else (self.second, self.first)


def describe_pair(subject: Subject, difference: float, variants: Sequence[Variant]) -> str:
    """Returns the line for a single value, from which nothing follows."""
    leader, _ = subject.rank(difference)
    lead = f"{leader} is ahead by {abs(difference):.4g} in {subject.objective.metric}"
    lead = lead if difference else f"both have the same {subject.objective.metric}"
    sample = _count(variants)
    return f"{subject.question} from {sample}: {lead}. Run more seeds."


def describe_verdict(
    subject: Subject,
    comparison: Comparison,
    variants: Sequence[Variant],
    sizes: tuple[int, int] | None = None,
) -> list[str]:
    """Returns the verdict, and what it takes to tell if it cannot be told.

    Args:
        subject: the groups.
        comparison: of the first with the second group.
        variants: the seeds and folds of the pairs.
        sizes: the numbers of runs of two groups without pairs.
    """
    mean = comparison.difference.mean
    leader, other = subject.rank(mean)
    metric, quality = subject.objective.metric, subject.quality
    sample = f"{sizes[0]} and {sizes[1]} seeds" if sizes else _count(variants)
    facts = f"{_format_interval(comparison)}p {_format_p(comparison.p)}, {sample}"
    amount = _format(abs(mean), comparison)
    if comparison.is_decided:
        lines = [f"{leader} is {quality} than {other} by {amount} in {metric} ({facts})."]
    else:
        lead = (
            f"{leader} is ahead by {amount} in {metric}"
            if mean
            else f"their mean {metric} is equal"
        )
        lines = [f"{subject.question}: {lead} ({facts})."]
        lines.append(_describe_need(comparison, variants, sizes))
    if sizes:
        lines.append("No seeds are in both groups, so that they are compared by Welch's test.")
    elif comparison.least_p > LEVEL:
        least = f"a permutation test of {_count_values(variants)} pairs cannot give a p below"
        lines.append(f"Note: {least} {comparison.least_p:.2g}; the interval decides.")
    return lines


def _describe_need(
    comparison: Comparison, variants: Sequence[Variant], sizes: tuple[int, int] | None
) -> str:
    """Returns how many seeds would tell the difference."""
    enough, now = comparison.enough, _count_values(variants) if sizes is None else min(sizes)
    folds = max((variant.folds or 0 for variant in variants if variant.fold), default=0)
    if comparison.difference.mean == 0:
        return "From a mean difference of 0, no number of seeds follows that would tell."
    if folds and _shares_folds(variants):
        return (
            "More seeds on the same folds add no data; other folds do (split_seed), or more data."
        )
    if enough is None and folds:
        return "More folds of this data will hardly tell, because their training sets overlap."
    if enough is None:
        return f"If mean and spread stay like this, it takes more than {MAX_COUNT} seeds to tell."
    enough = max(enough, now + 1)
    if folds:
        seeds = math.ceil(enough / folds)
        number = f"{max(seeds, 2)} seeds x {folds} folds"
    else:
        number = f"{enough} seeds" + (f", {enough - now} more," if sizes is None else " each")
    return f"If mean and spread stay like this, about {number} would probably tell."


def _shares_folds(variants: Sequence[Variant]) -> bool:
    """Whether several seeds have the same folds."""
    return _count_values(variants) < len(variants)


def _count_values(variants: Sequence[Variant]) -> int:
    """The number of values after the seeds on each fold have been averaged."""
    if any(variant.fold for variant in variants):
        return len({(variant.split_seed, variant.fold) for variant in variants})
    return len(variants)


def _count(variants: Sequence[Variant]) -> str:
    """The pairs in words, such as ``8 seeds``."""
    seeds = {variant.seed for variant in variants}
    folds = {variant.fold for variant in variants if variant.fold is not None}
    texts = [_plural(len(seeds), "seed"), _plural(len(folds), "fold")]
    if not folds:
        return texts[0]
    if len(seeds) == 1:
        return texts[1]
    if len(variants) == len(seeds) * len(folds):
        return " x ".join(texts)
    return f"{len(variants)} pairs of seed and fold"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _format(number: float, comparison: Comparison) -> str:
    """Formats a number with the decimals that the width of the interval allows."""
    width = comparison.difference.half_width
    return f"{number:.{count_decimals(width)}f}" if width else f"{number:.4g}"


def _format_interval(comparison: Comparison) -> str:
    """The interval of the leading group's advantage."""
    estimate = comparison.difference
    if not estimate.half_width:
        return "no interval, because all differences are equal; "
    ends = abs(estimate.mean) - estimate.half_width, abs(estimate.mean) + estimate.half_width
    low, high = (_format(end, comparison) for end in ends)
    return f"95 %: {low} to {high}; "


def _format_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.2g}"
