"""What is reported about a loss that is a list of terms."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from config.check.json_schema import PATH
from tests.config.check.small import CONFIG, find, run_check

MSE = {"type": "mse_loss", "weight": 0.5, "name": "mse"}
NAMES = "loss_cross_entropy, loss_mse"


@pytest.mark.parametrize(
    ("loss", "reported"),
    [
        ([], ["loss: is empty"]),
        (["cross_entropy", MSE | {"weight": "x"}], ["loss.1.weight: wants float, not 'x'"]),
        (
            ["cross_entropy", MSE | {"weight": float("inf")}],
            ["loss.1.weight: inf is not a finite number"],
        ),
        (
            ["cross_entropy", MSE | {"name": "cross_entropy"}],
            ["loss.1: the name 'cross_entropy' is taken; give this loss another \"name\""],
        ),
        (
            ["cross_entropy", {"type": "mse_loss", "weigth": 2}],
            [
                "loss.1.weigth: unknown key (did you mean 'weight'?); "
                "a component has 'type' and 'args'"
            ],
        ),
        (["cross_entropy", 3], ['loss.1: must be {"type": NAME, "args": {…}} or a name, not 3']),
        (MSE, ["loss.weight: unknown key", "loss.name: unknown key"]),
    ],
)
def test_terms_are_checked_one_by_one(loss: Any, reported: list[str]) -> None:
    found = find(loss=loss)
    assert len(found) == len(reported)
    assert all(line.startswith(start) for line, start in zip(found, reported, strict=True))


def test_the_monitor_may_name_a_term() -> None:
    loss = ["cross_entropy", MSE | {"weight": -1}]
    trainer = CONFIG["trainer"]
    run_check(loss=loss, trainer=trainer | {"monitor": "min val_loss_mse"})
    (line,) = find(loss=loss, trainer=trainer | {"monitor": "min val_loss_msee"})
    assert "(did you mean 'val_loss_mse'?)" in line
    assert f"there are loss, {NAMES}," in line


def test_the_monitor_may_name_a_number_of_a_metric() -> None:
    """Only the first epoch shows how many there are."""
    trainer = CONFIG["trainer"] | {"monitor": "max val_accuracy_3"}
    run_check(trainer=trainer)
    metrics = [{"type": "MetricCollection", "args": {"metrics": []}}]
    run_check(metrics=metrics, trainer=trainer | {"monitor": "max val_MulticlassAccuracy"})


def test_a_metric_and_a_term_have_different_names() -> None:
    metrics = [{"type": "accuracy", "name": "loss_mse"}]
    (line,) = find(loss=["cross_entropy", MSE], metrics=metrics)
    assert line.startswith("metrics.0: the name 'loss_mse' is taken")


@pytest.mark.parametrize(
    ("loss", "is_valid"),
    [
        (["cross_entropy", MSE], True),
        ("cross_entropy", True),
        ({"type": "mse_loss"}, True),
        (MSE, False),
        ([], False),
        (["cross_entropy", MSE | {"weight": "x"}], False),
    ],
)
def test_editors_know_terms(loss: Any, is_valid: bool) -> None:
    schema = json.loads(PATH.read_text(encoding="utf-8"))
    errors = list(jsonschema.Draft202012Validator(schema).iter_errors(CONFIG | {"loss": loss}))
    assert (errors == []) == is_valid
