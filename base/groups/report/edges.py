"""Warns where the best trial lies at the edge of the space: a better one may lie outside."""

from __future__ import annotations

import math

from base.groups.plan.space import Choices, Range, Space, is_number
from base.groups.study.records import TrialRecord

EDGE_FRACTION = 0.05  # of a range, at each end
TOLERANCE = 1e-9  # of a fraction: 0.95 of a range is at its end


def find_edges(best: TrialRecord, space: Space) -> list[str]:
    """Returns a sentence for each value of the best trial at an end of its range or list.

    The first and last 5 % of a range count as its ends, on a logarithmic scale for a logarithmic
    range. A list has ends if it has more than two numbers in ascending or descending order. At a
    lower end of 0, or of the integer 1, there is no advice, because few parameters go below.

    Args:
        best: the best trial. Keys that it has no number for are left out.
        space: by dotted key.
    """
    sentences = []
    for key, part in space.items():
        value = best.values.get(key)
        if not is_number(value):
            continue
        end = _find_end_of_range(value, part) if isinstance(part, Range) else ""
        advice = "widen the range"
        if isinstance(part, Choices):
            end = _find_end_of_list(value, part)
            advice = f"add {'larger' if end == 'upper' else 'smaller'} values"
        if end:
            text = f"The best lies at the {end} end of {key} ({value:.4g})"
            low = min(part.values) if isinstance(part, Choices) else part.low
            is_natural = end == "lower" and (low == 0 or (low == 1 and isinstance(low, int)))
            sentences.append(f"{text}." if is_natural else f"{text}: {advice}.")
    return sentences


def _find_end_of_range(value: float, part: Range) -> str:
    low, high = part.low, part.high
    step = 1 if part.step is None and part.is_integer else part.step
    if step is not None:
        high = low + step * math.floor((high - low) / step + TOLERANCE)  # the last value
        if high - low <= step * (1 + TOLERANCE):
            return ""  # one or two values
    if high <= low:
        return ""
    if part.log and low > 0 and value > 0:
        value, low, high = math.log(value), math.log(low), math.log(high)
    fraction = (value / 2 - low / 2) / (high / 2 - low / 2)  # a difference could overflow
    if fraction >= 1 - EDGE_FRACTION - TOLERANCE:
        return "upper"
    return "lower" if fraction <= EDGE_FRACTION + TOLERANCE else ""


def _find_end_of_list(value: float, part: Choices) -> str:
    values = part.values
    if len(values) < 3 or not all(map(is_number, values)):
        return ""
    ascending = sorted(set(values))
    if len(ascending) < 3 or values not in (ascending, ascending[::-1]):
        return ""
    if value == ascending[-1]:
        return "upper"
    return "lower" if value == ascending[0] else ""
