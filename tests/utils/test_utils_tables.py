"""Durations in words."""

from __future__ import annotations

import pytest

from utils.tables import format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (59.97, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (90_000, "25 h 00 min"),
        (270_000, "3.1 days"),
    ],
)
def test_a_duration_is_in_the_units_of_its_size(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
