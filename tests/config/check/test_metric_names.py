"""The names under which metrics are logged, as `trainer.monitor` may name them."""

import pytest

from tests.config.check.small import find, run_check

BOXES = {"type": "torchmetrics.detection.MeanAveragePrecision"}


@pytest.mark.parametrize("name", ["val_map", "val_map_50", "val_map_per_class_cat", "val_mar_5"])
def test_numbers_of_a_mean_average_precision_can_be_monitored(name):
    assert run_check(make_config(BOXES, name)) == []


def test_named_mean_average_precision_has_its_name_first():
    assert run_check(make_config(BOXES | {"name": "box"}, "val_box_map")) == []


def test_unknown_number_lists_those_that_are_logged():
    (message,) = run_check(make_config(BOXES, "val_mapp"))
    assert "nothing is logged as 'val_mapp' (did you mean 'val_map'?)" in message
    assert "val_map_50" in message


def test_without_a_loss_a_term_of_the_model_can_be_monitored():
    config = make_config(BOXES, "loss_box_reg", "min")
    assert run_check(config) != []
    assert run_check({key: value for key, value in config.items() if key != "loss"}) == []
