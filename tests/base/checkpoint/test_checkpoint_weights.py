"""The weights in a checkpoint: which they are, and whether they fit a model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from base.checkpoint.weights import get_weights, has_ema, load_weights
from base.parallel.strategy import move_to_device
from utils.errors import UserError


@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_with_and_without_the_prefix_of_dataparallel_are_loaded(prefix):
    model = nn.Linear(2, 3)
    weights = {f"{prefix}{name}": value + 1 for name, value in model.state_dict().items()}
    load_weights(model, weights, "file")
    assert torch.equal(model.weight, weights[f"{prefix}weight"])


def test_a_model_that_has_a_module_called_module_keeps_its_names():
    model = nn.Module()
    model.module = nn.Linear(2, 3)
    weights = {name: value + 1 for name, value in model.state_dict().items()}
    load_weights(model, weights, "file")
    assert torch.equal(model.module.weight, weights["module.weight"])


class Expanded(nn.Linear):
    """Has a mask whose rows are the same place in memory, as ``expand`` makes it."""

    def __init__(self):
        super().__init__(2, 3)
        self.register_buffer("mask", torch.ones(1, 4).expand(3, 4))


def test_weights_are_loaded_into_an_expanded_buffer():
    model, _ = move_to_device(Expanded(), torch.device("cpu"))
    model.mask[1] = 5  # as the average of EMA is written
    loaded = Expanded()
    load_weights(loaded, model.state_dict(), "file")
    assert torch.equal(loaded.mask, torch.tensor([1.0, 5, 1])[:, None].expand(3, 4))


FITTING = nn.Linear(2, 3).state_dict()


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        (nn.Linear(5, 3).state_dict(), r"other shapes in 1 \(weight is \(3, 5\) there, \(3, 2\)"),
        ({"weight": FITTING["weight"]}, r"than Linear: lacks 1 \(bias\)"),
        (FITTING | {"x": torch.ones(1)}, r"has unknown 1 \(x\)"),
        ({}, r"lacks 2 \(bias, weight\)"),
        (nn.LSTM(2, 3, 2).state_dict(), r"has unknown 8 \(bias_hh_l0, bias_hh_l1, bias_ih_l0, …\)"),
        (FITTING | {"weight": 5}, "file: .*weight"),
        ([1], "file: its state_dict is a list"),
        ({1: torch.ones(1)}, "file: its state_dict is a dict"),
    ],
    ids=["shape", "missing", "unknown", "empty", "many", "no tensor", "list", "numbered"],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(weights, problem):
    model = nn.Linear(2, 3)
    before = model.weight.clone()
    with pytest.raises(UserError, match=problem) as caught:
        load_weights(model, weights, "file")
    assert "\n" not in str(caught.value)
    assert torch.equal(model.weight, before)


def test_averaged_weights_are_taken_where_they_are_asked_for_and_there():
    averaged = {"n_averaged": torch.tensor(3), "module.w": torch.ones(1)}
    state = {"state_dict": {"w": torch.zeros(1)}, "parts": {"update": {"ema": averaged}}}
    assert has_ema(state)
    assert get_weights(state, use_ema=True) == ({"w": averaged["module.w"]}, "EMA weights")
    assert get_weights(state, use_ema=False) == (state["state_dict"], "weights")


@pytest.mark.parametrize(
    "state", [{}, {"parts": None}, {"parts": {"update": None}}, {"parts": {"update": {}}}], ids=str
)
def test_without_averaged_weights_the_trained_ones_are_taken(state):
    state = state | {"state_dict": {"w": torch.zeros(1)}}
    assert not has_ema(state)
    assert get_weights(state, use_ema=True) == (state["state_dict"], "weights")


def test_a_plain_state_dict_serves_as_weights():
    assert get_weights({"w": 1}, use_ema=False) == ({"w": 1}, "weights")
