"""Whether an epoch was the best so far."""

from __future__ import annotations

from math import inf, nan

import pytest
from base.loop.monitor import is_better, parse_monitor, worst

from utils.errors import UserError


@pytest.mark.parametrize(
    ("monitor", "parsed"),
    [
        ("off", ("off", "")),
        ("min val_loss", ("min", "val_loss")),
        ("max val_accuracy", ("max", "val_accuracy")),
        ("max  val_accuracy ", ("max", "val_accuracy")),
    ],
)
def test_a_monitor_is_a_mode_and_a_metric(monitor: str, parsed: tuple[str, str]) -> None:
    assert parse_monitor(monitor) == parsed


@pytest.mark.parametrize(
    "monitor", ["", "min", "max ", "val_loss", "lowest val_loss", "Off", "MIN val_loss"]
)
def test_any_other_monitor_is_refused_with_an_example(monitor: str) -> None:
    with pytest.raises(
        UserError, match="must be 'off', 'min METRIC' or 'max METRIC', as 'min val_loss'"
    ):
        parse_monitor(monitor)


@pytest.mark.parametrize(
    ("mode", "value", "best", "better"),
    [
        ("min", 1.0, 2.0, True),
        ("min", 2.0, 1.0, False),
        ("max", 2.0, 1.0, True),
        ("max", 1.0, 2.0, False),
        ("min", 1.0, 1.0, False),
        ("max", 1.0, 1.0, False),
        ("min", nan, inf, False),
        ("max", nan, -inf, False),
        ("min", -inf, 0.0, True),
    ],
)
def test_better_is_strictly_better_and_nan_never(
    mode: str, value: float, best: float, better: bool
) -> None:
    assert is_better(mode, value, best) is better


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("value", [-1e30, 0.0, 1e30])
def test_any_number_is_better_than_the_worst(mode: str, value: float) -> None:
    assert is_better(mode, value, worst(mode))
