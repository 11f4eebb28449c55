"""Patterns select parameters by name, and layers are the blocks of a model."""

from __future__ import annotations

import pytest
import torchvision
from torch import nn

from base.loop.selection import select_parameters
from base.transfer.selection import get_layers
from tests.base.transfer.models import small_net
from utils.errors import UserError


def test_patterns_select_and_exclude():
    model = small_net()
    assert select_parameters(model, ["0.*", "!0.1.*"], "k") == {"0.0.weight", "0.0.bias"}
    assert select_parameters(model, "1", "k") == {"1.0.weight", "1.0.bias"}
    assert select_parameters(model, ["!0.1.*", "*.bias"], "k") == {
        "0.0.bias",
        "0.1.bias",
        "1.0.bias",
        "2.3.bias",
    }


def test_a_pattern_without_a_match_is_an_error_with_its_key():
    model = nn.ModuleDict({"features": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    with pytest.raises(UserError) as caught:
        select_parameters(model, ["head", "featurs.*"], "k")
    assert caught.value.problems[0].key == "k.1"
    assert "'featurs.*' matches no parameter (did you mean 'features" in str(caught.value)
    with pytest.raises(UserError, match=r"^k: 'x' matches no parameter; there are features\."):
        select_parameters(model, "x", "k")


def test_layers_are_blocks():
    first_names = [layer[0] for layer in get_layers(torchvision.models.vit_b_16(image_size=32))]
    assert len(first_names) == 14  # the patches, 12 blocks, the head
    assert first_names[0] == "class_token"
    assert first_names[-1] == "heads.head.weight"
    # the first convolution, 8 blocks, the head
    assert len(get_layers(torchvision.models.resnet18())) == 10
    model = small_net()
    assert [name for layer in get_layers(model) for name in layer] == [
        name for name, _ in model.named_parameters()
    ]
