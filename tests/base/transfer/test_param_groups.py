"""Each parameter is in one group of the optimizer, with its learning rate and weight decay."""

from __future__ import annotations

import logging

import pytest
from torch import nn

from base.transfer.options import ParamGroup, Thaw
from tests.base.transfer.models import prepare, small_net
from utils.errors import UserError


def values_of(groups, parameter):
    """What the only group with this parameter says beside its parameters."""
    found = [group for group in groups if any(p is parameter for p in group["params"])]
    assert len(found) == 1
    return {key: value for key, value in found[0].items() if key != "params"}


def test_each_parameter_is_in_one_group_with_its_rates():
    model = small_net()
    entries = [ParamGroup("0.*", lr_scale=0.1), ParamGroup(["1.*"], lr=0.5, weight_decay=0.3)]
    transfer = prepare(model, param_groups=entries, no_decay="norm_and_bias")
    groups = transfer.parameter_groups(model, 0.01)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert values_of(groups, model[0][0].weight) == {"lr": pytest.approx(0.001)}
    assert values_of(groups, model[0][1].weight) == {
        "lr": pytest.approx(0.001),
        "weight_decay": 0.0,
    }
    assert values_of(groups, model[1][0].bias) == {"lr": 0.5, "weight_decay": 0.3}
    assert values_of(groups, model[2][3].weight) == {}
    assert values_of(groups, model[2][3].bias) == {"weight_decay": 0.0}


def test_layer_decay():
    model = small_net()
    groups = prepare(model, layer_decay=0.5).parameter_groups(model, 0.01)
    rates = [
        values_of(groups, p).get("lr", 0.01)
        for p in (model[0][0].weight, model[1][0].weight, model[2][3].weight)
    ]
    assert rates == pytest.approx([0.0025, 0.005, 0.01])


def test_an_optimizer_without_a_learning_rate_has_nothing_to_scale():
    model = small_net()
    with pytest.raises(UserError, match=r"^optimizer: has no learning rate 'lr' to scale"):
        prepare(model, layer_decay=0.5).parameter_groups(model, None)


def test_a_parameter_in_two_groups_is_an_error():
    model = small_net()
    entries = [ParamGroup("0.*", lr_scale=0.1), ParamGroup("*.bias", lr_scale=2)]
    with pytest.raises(
        UserError,
        match=r"transfer.param_groups.1.params: selects '0.0.bias', which group 0 has already",
    ):
        prepare(model, param_groups=entries).parameter_groups(model, 0.01)


def test_without_options_the_optimizer_gets_plain_parameters():
    model = small_net()
    parameters = prepare(model).parameter_groups(model, None)
    assert [id(p) for p in parameters] == [id(p) for p in model.parameters()]


def test_frozen_parameters_are_in_no_group_unless_they_are_thawed_later(caplog):
    model = small_net()
    thaw = [Thaw(2, "1.*", lr_scale=0.5)]
    with caplog.at_level(logging.INFO):
        groups = prepare(model, freeze=["0.*", "1.*"], thaw=thaw).parameter_groups(model, 0.01)
    assert [len(group["params"]) for group in groups] == [2, 2]
    assert values_of(groups, model[1][0].weight) == {"lr": 0.005}
    assert values_of(groups, model[2][3].weight) == {}
    assert [" ".join(line.split()) for line in caplog.text.splitlines()[-3:]] == [
        "parameters tensors lr weight decay from epoch names",
        "148 2 0.005 default 2 1.0.weight … 1.0.bias",
        "15 2 0.01 default 1 2.3.weight … 2.3.bias",
    ]


def test_an_explicit_rate_is_scaled_by_the_phase_only():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    options = {"freeze": ["0.*"], "thaw": [Thaw(2, "0.*", lr_scale=0.5)], "layer_decay": 0.1}
    transfer = prepare(model, param_groups=[ParamGroup("0.*", lr=0.4)], **options)
    assert values_of(transfer.parameter_groups(model, 0.01), model[0].weight) == {"lr": 0.2}
