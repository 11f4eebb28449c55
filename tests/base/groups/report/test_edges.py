"""The warning that the best trial lies at the edge of the space."""

from __future__ import annotations

from typing import Any

import pytest

from base.groups.plan.space import Choices, Range
from base.groups.report.edges import find_edges
from base.groups.study.records import FINISHED, TrialRecord

LOG = Range(1e-4, 1e-1, log=True)
STEPS = Range(0.0, 1.0, step=0.3)  # ends at 0.9


def find_end(value: Any, part: Choices | Range) -> str:
    """The word for the end at which a value lies, or an empty text."""
    sentences = find_edges(TrialRecord(0, FINISHED, {"key": value}, 1.0), {"key": part})
    return sentences[0].split()[5] if sentences else ""


@pytest.mark.parametrize(
    ("value", "part", "end"),
    [
        (0.1, LOG, "upper"),
        (0.08, LOG, "upper"),
        (0.07, LOG, ""),  # in the upper third, but not on a logarithmic scale
        (1.3e-4, LOG, "lower"),
        (1.5e-4, LOG, ""),
        (0.95, Range(0.0, 1.0), "upper"),
        (0.94, Range(0.0, 1.0), ""),
        (0.05, Range(0.0, 1.0), "lower"),
        (0.9, STEPS, "upper"),
        (0.6, STEPS, ""),
        (4, Range(1, 4, is_integer=True), "upper"),
        (3, Range(1, 4, is_integer=True), ""),
        (2, Range(1, 2, is_integer=True), ""),  # two values have no middle
        (1, Range(1, 1, is_integer=True), ""),
        (3.0, Range(3.0, 3.0), ""),
        (0.0, Range(-1.7e308, 1.7e308), ""),
        (128, Choices([32, 64, 128]), "upper"),
        (32, Choices([128, 64, 32]), "lower"),
        (64, Choices([32, 64, 128]), ""),
        (64, Choices([32, 64]), ""),
        (64, Choices([32, 128, 64]), ""),  # in no order
        (True, Choices([False, True, True]), ""),
        ("c", Choices(["a", "b", "c"]), ""),
        ({"type": "A"}, Choices([{"type": "A"}, 1, 2]), ""),
        (None, LOG, ""),
        (float("nan"), LOG, ""),
    ],
)
def test_an_end_of_a_range_or_of_a_list_is_found(
    value: Any, part: Choices | Range, end: str
) -> None:
    assert find_end(value, part) == end


def test_the_sentence_names_the_end_the_key_and_the_value() -> None:
    space = {"optimizer.args.lr": LOG, "batch_size": Choices([32, 64, 128]), "missing": LOG}
    best = TrialRecord(0, FINISHED, {"optimizer.args.lr": 0.1, "batch_size": 32}, 1.0)
    assert find_edges(best, space) == [
        "The best lies at the upper end of optimizer.args.lr (0.1): widen the range.",
        "The best lies at the lower end of batch_size (32): add smaller values.",
    ]


@pytest.mark.parametrize("part", [Choices([1, 2, 4]), Range(1, 9, is_integer=True)])
def test_below_one_or_zero_there_is_nothing_to_add(part: Choices | Range) -> None:
    best = TrialRecord(0, FINISHED, {"accumulation_steps": 1}, 1.0)
    (text,) = find_edges(best, {"accumulation_steps": part})
    assert text == "The best lies at the lower end of accumulation_steps (1)."
