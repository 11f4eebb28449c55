"""The moving average of a model's weights keeps integers, ties and computed weights right."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from base.loop.averaging import EMA


def test_integers_are_copied_and_ties_stay():
    model = nn.Module()
    model.table = nn.Parameter(torch.arange(1000), requires_grad=False)
    model.embed, model.decoder = nn.Embedding(3, 2), nn.Linear(2, 3)
    model.decoder.weight = model.embed.weight
    average = EMA(model, 0.999)
    for _ in range(3):
        average.update_parameters(model)
    assert torch.equal(average.module.table, model.table)
    assert average.module.decoder.weight is average.module.embed.weight


@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore")
def test_a_weight_norm_is_averaged(norm):
    """The older one holds a computed tensor, which ``deepcopy`` refuses."""
    model = nn.Sequential(norm(nn.Linear(2, 2)))
    average = EMA(model, 0.5)
    inputs = torch.ones(1, 2)
    assert torch.equal(average(inputs), model(inputs))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    average.update_parameters(model)  # the first update copies
    assert torch.equal(average(inputs), model(inputs))
