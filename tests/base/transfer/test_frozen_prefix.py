"""The frozen modules that run first in a model are found, and can be skipped."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

from base.transfer.freezing import freeze
from base.transfer.frozen_prefix import FrozenPrefix
from tests.base.transfer.models import freeze_all_but_head
from utils.errors import UserError

SHAPES = {"resnet18": (512, 1, 1), "mobilenet_v2": (1280, 2, 2)}
OTHER_SHAPES = {"squeezenet1_0": (512, 3, 3), "convnext_tiny": (768,), "swin_t": (2, 2, 768)}


def check_prefix(model, images, shape):
    """The rest of a model gives the same output from features as the model from images."""
    freeze_all_but_head(model).eval()
    expected = model(images)
    prefix = FrozenPrefix(model, images[:2])
    features = prefix.compute(images)
    assert features.shape == (len(images), *shape)
    undo = prefix.skip()
    assert torch.equal(model(features), expected)
    undo()
    assert torch.equal(model(images), expected)


@pytest.mark.parametrize(
    ("family", "shape"),
    [
        *SHAPES.items(),
        *(pytest.param(*item, marks=pytest.mark.slow) for item in OTHER_SHAPES.items()),
    ],
)
def test_the_rest_of_a_model_gives_the_same_output_from_features(family, shape):
    check_prefix(getattr(torchvision.models, family)(), torch.randn(3, 3, 64, 64), shape)


def test_the_rest_of_a_transformer_gives_the_same_output_from_features():
    """Its class token and its positions are parameters of the model itself."""
    model = VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)
    nn.init.normal_(model.heads.head.weight)  # it begins with zeros
    check_prefix(model, torch.randn(3, 3, 32, 32), (5, 16))


class Skipping(nn.Module):
    """Its head reads the outputs of two frozen modules."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.a(x) + self.b(x))


def test_a_model_that_reads_earlier_outputs_is_refused():
    with pytest.raises(
        UserError, match="Skipping reads more than the last output of its frozen modules"
    ):
        FrozenPrefix(freeze_all_but_head(Skipping()), torch.randn(2, 4))
    model = freeze_all_but_head(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    freeze(model, ["1.weight", "1.bias"])
    with pytest.raises(UserError, match="no frozen module of Sequential runs before"):
        FrozenPrefix(model, torch.randn(2, 4))
