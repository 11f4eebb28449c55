"""The weights in a checkpoint: which they are, and whether they fit a model."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from base.checkpoint.weights import choose_weights, get_averaged, get_weights, load_weights
from base.parallel.strategy import move_to_device
from config import ConfigParser
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


AVERAGED = {"n_averaged": torch.tensor(3), "last_epoch": torch.tensor(1), "module.w": torch.ones(1)}


@pytest.mark.parametrize(("kind", "text"), [("ema", "EMA weights"), ("swa", "SWA weights")])
def test_averaged_weights_are_taken_where_they_are_asked_for_and_there(kind, text):
    state = {"state_dict": {"w": torch.zeros(1)}, "parts": {"update": {kind: AVERAGED}}}
    assert get_averaged(state, kind) == {"w": AVERAGED["module.w"]}
    assert get_weights(state, kind) == ({"w": AVERAGED["module.w"]}, text)
    assert get_weights(state, "trained") == (state["state_dict"], "weights")


@pytest.mark.parametrize(
    "state", [{}, {"parts": None}, {"parts": {"update": None}}, {"parts": {"update": {}}}], ids=str
)
def test_without_averaged_weights_the_trained_ones_are_taken(state):
    state = state | {"state_dict": {"w": torch.zeros(1)}}
    assert get_averaged(state, "ema") is None
    assert get_weights(state, "ema") == (state["state_dict"], "weights")


@pytest.mark.parametrize(
    ("monitor", "text"),
    [
        ("max val_swa_accuracy", "SWA weights"),
        ("min val_loss", "weights"),
        ("off", "weights"),
        ("max val_ema_accuracy", "weights"),  # the checkpoint has none
    ],
)
def test_the_monitor_chooses_the_weights_unless_the_user_does(monitor, text):
    state = {"state_dict": {"w": torch.zeros(1)}, "parts": {"update": {"swa": AVERAGED}}}
    config = ConfigParser({"name": "x", "trainer": {"monitor": monitor}}, run_id="x")
    assert choose_weights(state, None, config)[1] == text
    assert choose_weights(state, "swa", config)[1] == "SWA weights"
    assert choose_weights(state, "trained", config)[1] == "weights"
    with pytest.raises(UserError, match="holds no EMA weights; it has: trained, swa"):
        choose_weights(state, "ema", config)


def test_a_plain_state_dict_serves_as_weights():
    assert get_weights({"w": 1}) == ({"w": 1}, "weights")
