"""Frozen parameters stay, thawed ones move, in phases that follow from options and model."""

from __future__ import annotations

import logging

import pytest
import torch
import torchvision
from torch import nn

from base.transfer.freezing import get_frozen_tensors
from base.transfer.options import Head, Thaw, TransferOptions
from base.transfer.transfer import Transfer, describe_phases
from tests.base.transfer.models import LOGGER, prepare, small_net, train_steps
from utils.errors import UserError

FAMILIES = {
    "resnet18": "fc",
    "squeezenet1_0": "classifier.1",
    "mobilenet_v3_small": "classifier.3",
    "vit_b_16": "heads.head",
}
OTHER_FAMILIES = {
    "vgg11": "classifier.6",
    "mobilenet_v2": "classifier.1",
    "efficientnet_b0": "classifier.1",
    "convnext_tiny": "classifier.2",
    "swin_t": "head",
}


@pytest.mark.parametrize(
    ("family", "head_name"),
    [
        *FAMILIES.items(),
        *(pytest.param(*item, marks=pytest.mark.slow) for item in OTHER_FAMILIES.items()),
    ],
)
def test_every_family_gets_a_head_and_frozen_tensors_keep_their_bits(family, head_name):
    size = 64 if family != "vit_b_16" else 32
    arguments = {"image_size": size} if family == "vit_b_16" else {}
    model = getattr(torchvision.models, family)(**arguments)
    transfer = prepare(model, head=Head(num_classes=2), freeze="all_but_head")
    head = model.get_submodule(head_name)
    before = {name: value.clone() for name, value in get_frozen_tensors(model).items()}
    assert len(before) == len(model.state_dict()) - 2  # the head's weight and bias
    parameters = transfer.parameter_groups(model, 0.01)
    optimizer = torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)
    weight = head.weight.clone()
    train_steps(model, optimizer, (2, 3, size, size))
    assert model(torch.randn(2, 3, size, size)).shape == (2, 2)
    assert not torch.equal(head.weight, weight)
    after = get_frozen_tensors(model)
    assert [name for name in after if not torch.equal(after[name], before[name])] == []
    assert {id(p) for p in optimizer.state} == {id(p) for p in head.parameters()}


# -- phases --------------------------------------------------------------------------------------


def trained(model: nn.Module) -> set[str]:
    return {name for name, value in model.named_parameters() if value.requires_grad}


def test_a_second_instance_derives_the_phases_from_the_model(caplog):
    """As of a resumed run: one instance prepares the model, another one begins epoch 3."""
    model = small_net()
    options = {"head": Head(2), "freeze": "all_but_head", "thaw": [Thaw(3, "1.*")]}
    prepare(model, **options)
    head = {"2.3.weight", "2.3.bias"}
    assert trained(model) == head
    second = Transfer(TransferOptions(**options), LOGGER)
    with caplog.at_level(logging.INFO):
        assert second.begin_epoch(3, model, None)
    assert trained(model) == head | {"1.0.weight", "1.0.bias"}
    assert "From epoch 3 on: 158 of 206 parameters are trained" in caplog.text


def test_only_a_change_of_the_trained_parameters_asks_for_a_new_wrapper():
    model = small_net()
    options = TransferOptions(freeze=["0.*", "1.*"], thaw=[Thaw(2, "1.*"), Thaw(4, "0.*")])
    Transfer(options, LOGGER).prepare_model(model, None, resuming=False)
    transfer = Transfer(options, LOGGER)
    changes = [transfer.begin_epoch(epoch, model, None) for epoch in range(1, 6)]
    assert changes == [False, True, False, True, False]
    assert trained(model) == {name for name, _ in model.named_parameters()}


def test_the_first_step_of_each_phase_is_audited():
    model = small_net()
    transfer = prepare(model, freeze=["0.*", "1.*"], thaw=[Thaw(3, "1.*")])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch, is_audited in ((1, True), (2, False), (3, True)):
        transfer.begin_epoch(epoch, model, optimizer)
        model[0][1].running_mean.add_(1)
        if is_audited:
            with pytest.raises(UserError, match=r"0\.1\.running_mean changed in a step"):
                optimizer.step()
        optimizer.step()  # a later step of the phase


def test_without_freezing_there_are_no_phases(caplog):
    model = small_net()
    transfer = prepare(model, head=Head(2))
    with caplog.at_level(logging.INFO):
        caplog.clear()
        assert not transfer.begin_epoch(1, model, torch.optim.SGD(model.parameters()))
    assert not caplog.records


def test_the_phases_of_a_model_without_memory_are_described():
    with torch.device("meta"):
        model = small_net()
    options = TransferOptions(head=Head(2), freeze=1, thaw=[Thaw(3, "1.*")])
    assert describe_phases(model, options) == [
        "From epoch 1 on: 10 of 206 parameters are trained (2.3.weight, 2.3.bias), 196 are frozen",
        "From epoch 3 on: 158 of 206 parameters are trained "
        "(1.0.weight, 1.0.bias, 2.3.weight, 2.3.bias), 48 are frozen",
    ]


def test_a_phase_that_thaws_nothing_is_an_error():
    with pytest.raises(
        UserError, match=r"transfer.thaw.0.params: every parameter of 2.\* is trained before"
    ):
        prepare(small_net(), freeze=["0.*"], thaw=[Thaw(2, "2.*")])
