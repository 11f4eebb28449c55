"""Clipping by value, with gradients of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from base.loop.update import Update
from base.options import TrainerOptions
from base.parallel.clipping import clip_grad_value
from tests.helpers import make_trainer, small_config
from utils.errors import UserError


def clip(grad: torch.Tensor, max_value: float = 1.0) -> Any:
    parameter = nn.Parameter(torch.zeros(grad.shape, dtype=grad.dtype))
    parameter.grad = grad
    clip_grad_value([parameter, nn.Parameter(torch.zeros(1))], max_value)
    return parameter.grad


def test_numbers_are_clipped_as_torch_does() -> None:
    parameters = [nn.Parameter(torch.zeros(3, 4)) for _ in range(2)]
    gradient = torch.randn(3, 4)
    for parameter in parameters:
        parameter.grad = gradient.clone()
    nn.utils.clip_grad_value_(parameters[0], 0.3)
    clip_grad_value([parameters[1]], 0.3)
    assert torch.equal(parameters[0].grad, parameters[1].grad)


def test_the_sum_at_an_index_of_a_sparse_gradient_is_clipped() -> None:
    sparse = torch.sparse_coo_tensor([[1, 1, 3]], [0.8, 0.8, -0.5], (4,))
    assert clip(sparse).to_dense().tolist() == [0.0, 1.0, 0.0, -0.5]


def test_both_components_of_a_complex_gradient_are_clipped() -> None:
    assert clip(torch.tensor([3 - 0.5j, 0.1 - 9j])).tolist() == [1 - 0.5j, pytest.approx(0.1 - 1j)]


def test_a_gradient_that_is_not_finite_stays_so() -> None:
    """Otherwise nothing would report it."""
    found = clip(torch.tensor([torch.inf, -torch.inf, torch.nan, 5.0]))
    assert found.isfinite().tolist() == [False, False, False, True]


def test_an_infinite_gradient_is_an_error_in_training(tmp_path: Path) -> None:
    trainer = make_trainer(small_config(tmp_path, grad_clip_value=0.5))
    weight = next(trainer.model.parameters())
    weight.register_hook(lambda grad: grad * torch.inf)
    with pytest.raises(UserError, match="gradient"):
        trainer.train()


def test_parameters_of_a_loss_are_clipped_too() -> None:
    model, scale = nn.Linear(1, 1, bias=False), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([*model.parameters(), scale], lr=1.0)
    options = TrainerOptions(epochs=1, grad_clip_value=0.5)
    update = Update(model, optimizer, options, torch.device("cpu"))
    before = model.weight.item()
    update.backward((model(torch.ones(1, 1)) + scale).sum() * 10)
    assert update.step()
    assert (scale.item(), model.weight.item()) == (0.5, pytest.approx(before - 0.5))
