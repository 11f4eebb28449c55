"""What a constructor has frozen stays frozen, and a tied parameter is known by every name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from base.loop.selection import select_parameters
from base.transfer.freezing import freeze
from base.transfer.options import Head, ParamGroup, Thaw
from base.transfer.start_weights import match_weights
from tests.base.transfer.models import prepare
from utils.errors import UserError


class Fixed(nn.Module):
    """Has a position code and a teacher that are not trained, and a table of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(2, 2)
        self.stem.code = nn.Parameter(torch.zeros(2), requires_grad=False)
        self.table = nn.Parameter(torch.arange(3), requires_grad=False)
        self.teacher = nn.Linear(2, 2).requires_grad_(False)
        self.head = nn.Linear(2, 2)


class Tied(nn.Module):
    """A language model whose output layer is the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.body = nn.Embedding(5, 2), nn.Linear(2, 2)
        self.decoder = nn.Linear(2, 5)
        self.decoder.weight = self.embed.weight


HEAD = {"head.weight", "head.bias"}
STEM = {"stem.weight", "stem.bias"}
TEACHER = {"teacher.weight", "teacher.bias"}


def get_trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("options", "first", "second"),
    [
        ({}, HEAD | STEM, HEAD | STEM),
        ({"freeze": ["stem"]}, HEAD, HEAD),
        ({"freeze": 1}, HEAD, HEAD),
        ({"freeze": ["stem"], "thaw": [Thaw(2, ["stem"])]}, HEAD, HEAD | STEM),
        ({"freeze": ["stem"], "thaw": [Thaw(2, "*")]}, HEAD, HEAD | STEM),
        ({"freeze": ["stem"], "thaw": [Thaw(2, "stem.code")]}, HEAD, HEAD | {"stem.code"}),
        ({"freeze": ["stem"], "thaw": [Thaw(2, "teacher")]}, HEAD, HEAD | TEACHER),
    ],
)
def test_the_constructors_choice_stays_unless_it_is_thawed_by_name(options, first, second):
    """https://github.com/pytorch/torchtitan/issues/3886"""
    model = Fixed()
    transfer = prepare(model, **options)
    assert get_trained(model) == first
    groups = transfer.parameter_groups(model, 0.1)
    parameters = [p for group in groups for p in group["params"]] if "thaw" in options else groups
    assert len(parameters) == len(first | second)
    again = type(transfer)(transfer.options, transfer.logger)  # as the trainer makes one
    for epoch, trained in ((1, first), (2, second)):
        again.begin_epoch(epoch, model, None)
        assert get_trained(model) == trained


@pytest.mark.parametrize("options", [{"freeze": "all_but_head"}, {"freeze": 1}])
def test_a_frozen_layer_at_the_end_is_not_the_head(options):
    model = Fixed()
    model.last_teacher = nn.Linear(2, 2).requires_grad_(False)
    prepare(model, **options)
    assert get_trained(model) == HEAD


def test_integers_cannot_be_trained():
    with pytest.raises(UserError, match="table cannot be trained: it holds integers"):
        prepare(Fixed(), freeze=["stem"], thaw=[Thaw(2, "table")])
    model = Fixed()
    freeze(model, [])
    assert not model.table.requires_grad


def test_a_group_of_frozen_parameters_is_an_error():
    transfer = prepare(Fixed(), param_groups=[ParamGroup("teacher", lr=0.1)])
    with pytest.raises(UserError, match="has no effect: every parameter of teacher is frozen"):
        transfer.parameter_groups(Fixed(), 0.1)


# -- tied parameters -------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"freeze": "all_but_head"}, {"freeze": 1}])
def test_a_tied_head_is_trained(options):
    """https://github.com/huggingface/transformers/issues/11903"""
    model = Tied()
    prepare(model, **options)
    assert get_trained(model) == {"embed.weight", "decoder.bias"}


@pytest.mark.parametrize("pattern", ["decoder.weight", "embed", "decoder.w*"])
def test_a_tied_parameter_has_all_its_names(pattern):
    assert select_parameters(Tied(), pattern, "key") == {"embed.weight"}
    model = Tied()
    prepare(model, freeze=[pattern])
    assert "embed.weight" not in get_trained(model)


def test_a_tied_parameter_is_in_one_group():
    model = Tied()
    entries = [ParamGroup("embed", lr=0.1), ParamGroup("decoder.weight", lr=0.2)]
    with pytest.raises(UserError, match=r"selects 'embed\.weight', which group 0 has already"):
        prepare(model, param_groups=entries).parameter_groups(model, 0.1)
    groups = prepare(model, param_groups=entries[1:]).parameter_groups(model, 0.1)
    assert sorted(len(group["params"]) for group in groups) == [1, 3]


def test_a_shared_module_is_replaced_under_all_its_names():
    model = nn.ModuleDict({"fc": nn.Linear(2, 3)})
    model["alias"] = model["fc"]
    prepare(model, head=Head(4, "alias"))
    assert model["fc"] is model["alias"]
    assert model["fc"].out_features == 4


def test_start_weights_need_one_name_of_a_tied_parameter():
    """As a file of safetensors, which holds a tied tensor once."""
    model = Tied()
    weights = {name: value + 1 for name, value in model.state_dict().items()}
    del weights["embed.weight"]
    match = match_weights(model, weights)
    assert (match.fraction, match.missing, match.untied) == (1.0, [], [])
    model.load_state_dict(match.matched, strict=False)
    assert torch.equal(model.embed.weight, weights["decoder.weight"])
    untied = match_weights(model, weights | {"embed.weight": torch.zeros(5, 2)})
    assert untied.untied == ["decoder.weight differs from embed.weight in the file, which is used"]
    assert "tied here" in str(untied)
