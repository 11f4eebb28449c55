"""The names under which metrics are logged, as `trainer.monitor` may name them."""

import pytest

from tests.config.check.small import find, run_check

BOXES = {"type": "torchmetrics.detection.MeanAveragePrecision"}


def monitor(text):
    return {"epochs": 1, "monitor": text}


@pytest.mark.parametrize("name", ["val_map", "val_map_50", "val_map_per_class_cat", "val_mar_5"])
def test_numbers_of_a_mean_average_precision_can_be_monitored(name):
    run_check(metrics=[BOXES], trainer=monitor(f"max {name}"))


def test_named_mean_average_precision_has_its_name_first():
    run_check(metrics=[BOXES | {"name": "box"}], trainer=monitor("max val_box_map"))


def test_unknown_number_lists_those_that_are_logged():
    (message,) = find(metrics=[BOXES], trainer=monitor("max val_mapp"))
    assert "nothing is logged as 'val_mapp' (did you mean 'val_map'?)" in message
    assert "val_map_50" in message


def test_without_a_loss_a_term_of_the_model_can_be_monitored():
    assert find(metrics=[BOXES], trainer=monitor("min loss_box_reg"))
    run_check(metrics=[BOXES], trainer=monitor("min loss_box_reg"), loss=...)
