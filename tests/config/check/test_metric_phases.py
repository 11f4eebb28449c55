"""Metrics that are limited to one phase, as the check of a config sees them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.config.check.small import CONFIG, find, run_check

VALID = {"type": "accuracy", "on": "valid"}


def test_a_phase_is_one_of_two_words() -> None:
    (line,) = find(metrics=[VALID | {"on": "test"}])
    assert line == "metrics.0.on: wants 'train' | 'valid', not 'test'"
    (line,) = find(metrics=[{"type": "accuracy", "onn": "valid"}])
    assert line.startswith("metrics.0.onn: unknown key (did you mean 'on'?)")


@pytest.mark.parametrize(
    ("phase", "monitored", "meant"),
    [("valid", "accuracy", "val_accuracy"), ("train", "val_accuracy", "accuracy")],
)
def test_the_monitor_names_a_number_of_the_right_phase(
    phase: str, monitored: str, meant: str
) -> None:
    metrics = [{"type": "accuracy", "on": phase}]
    run_check(metrics=metrics, trainer=CONFIG["trainer"] | {"monitor": f"max {meant}"})
    (line,) = find(metrics=metrics, trainer=CONFIG["trainer"] | {"monitor": f"max {monitored}"})
    assert f"nothing is logged as '{monitored}' (did you mean '{meant}'?)" in line


@pytest.mark.parametrize(("other", "n_problems"), [("train", 0), ("valid", 1)])
def test_metrics_of_different_phases_may_have_the_same_name(other: str, n_problems: int) -> None:
    metrics: list[Any] = [VALID, {"type": "top_k_acc", "name": "accuracy", "on": other}]
    if n_problems == 0:
        run_check(metrics=metrics)
    else:
        (line,) = find(metrics=metrics)
        assert line.startswith("metrics.1: the name 'accuracy' is taken")
